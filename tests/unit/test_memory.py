"""The memory budget: what is reserved, settled and released, and what the machine says."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from container import memory
from container.memory import MB, Budget, estimate, limit_for_models
from serving.errors import OutOfMemory

SIZES = st.integers(0, 200 * MB)
KEYS = st.integers(0, 5)


class Models(RuleBasedStateMachine):
    """Loads come and go in any order; beside the budget, what each is thought to take."""

    @initialize(limit=SIZES)
    def start(self, limit: int) -> None:
        self.budget = Budget(limit)
        self.expected: dict[int, int] = {}

    @rule(key=KEYS, size=SIZES)
    def load(self, key: int, size: int) -> None:
        if key in self.expected:
            return
        free = self.budget.free
        try:
            self.budget.reserve(key, size)
        except OutOfMemory:
            assert size > free
        else:
            assert size <= free
            self.expected[key] = size

    @rule(key=KEYS, size=SIZES)
    def measure(self, key: int, size: int) -> None:
        if key not in self.expected:
            return
        others = sum(taken for other, taken in self.expected.items() if other != key)
        self.expected[key] = size
        try:
            self.budget.settle(key, size)
        except OutOfMemory:
            assert others + size > self.budget.limit
        else:
            assert others + size <= self.budget.limit

    @rule(key=KEYS)
    def end(self, key: int) -> None:
        self.budget.release(key)
        self.expected.pop(key, None)

    @invariant()
    def everything_is_counted_once(self) -> None:
        assert self.budget.taken == self.expected
        assert self.budget.free == self.budget.limit - sum(self.expected.values())


TestAnyOrderOfLoads = Models.TestCase


def test_refused_reservation_takes_nothing_and_is_a_507() -> None:
    budget = Budget(10 * MB)
    with pytest.raises(OutOfMemory, match=r"12\.0 MB .* 10\.0 MB of 10\.0 MB") as refused:
        budget.reserve(1, 12 * MB)
    assert budget.free == 10 * MB
    assert refused.value.status == 507


def test_model_that_turns_out_too_large_is_counted_until_it_is_gone() -> None:
    budget = Budget(10 * MB)
    budget.reserve(1, 6 * MB)
    with pytest.raises(OutOfMemory, match=r"takes 13\.0 MB of memory, 3\.0 MB more"):
        budget.settle(1, 13 * MB)
    with pytest.raises(OutOfMemory, match=r"0\.0 MB of"):
        budget.reserve(2, 6 * MB)
    budget.release(1)
    budget.reserve(2, 6 * MB)


def test_releasing_twice_is_nothing() -> None:
    budget = Budget(MB)
    budget.reserve(1, MB)
    budget.release(1)
    budget.release(1)
    assert budget.free == MB


def test_estimate_grows_with_the_files_wherever_they_lie(tmp_path: Path) -> None:
    empty = estimate(tmp_path)
    (tmp_path / "a").write_bytes(bytes(4 * MB))
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "b").write_bytes(bytes(4 * MB))
    assert 0 < empty < 32 * MB
    assert estimate(tmp_path) >= empty + 8 * MB


def test_estimate_passes_over_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert estimate(tmp_path) == estimate(tmp_path / "nowhere")


@given(st.integers(1, 1 << 45), SIZES)
def test_budget_that_is_set_is_the_budget(setting: int, own_part: int) -> None:
    assert limit_for_models(setting, own_part) == setting


def test_budget_without_a_setting_is_what_the_container_has_less_its_own_part() -> None:
    whole = memory.container_limit()
    assert whole > 256 * MB
    assert limit_for_models(None, 100 * MB) == whole - 100 * MB
    assert limit_for_models(None, whole * 2) > 0


def test_limit_is_at_most_what_the_machine_has() -> None:
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert memory.container_limit() <= int(total.split()[1]) * 1024


def test_kills_for_memory_are_a_number() -> None:
    assert memory.killed_for_memory() >= 0
