"""A CloudFormation template, read and resolved: its resources, once parameters, conditions and references are known.

Only the functions that our template has. What is not known here is an error and no guess.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml

NO_VALUE = object()
_SUBSTITUTED = re.compile(r"\$\{([A-Za-z0-9:.]+)\}")


class Bad(Exception):
    """What CloudFormation calls a ValidationError; its sentence."""


class _Loader(yaml.SafeLoader):
    """Short forms (!Ref) as the long ones."""


def _long(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _long)


@cache
def parse(text: str) -> dict[str, Any]:
    """Raises Bad."""
    try:
        template = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise Bad(f"Template format error: YAML not well-formed. {error}") from error
    if not isinstance(template, dict) or "Resources" not in template:
        raise Bad("Template format error: At least one Resources member must be defined.")
    return template


def parameters(template: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """All of them with their values. Raises Bad."""
    known = template.get("Parameters", {})
    if unknown := sorted(set(given) - set(known)):
        raise Bad(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
    if missing := [name for name, rule in known.items() if name not in given and "Default" not in rule]:
        raise Bad(f"Parameters: [{', '.join(missing)}] must have values")
    values = {name: str(given.get(name, rule.get("Default"))) for name, rule in known.items()}
    for name, rule in known.items():
        _check(name, rule, values[name])
    return values


def _check(name: str, rule: Mapping[str, Any], value: str) -> None:
    allowed = [str(one) for one in rule.get("AllowedValues", ())]
    if allowed and value not in allowed:
        raise Bad(f"Parameter '{name}' must be one of AllowedValues")
    if "AllowedPattern" in rule and not re.fullmatch(rule["AllowedPattern"], value):
        raise Bad(f"Parameter '{name}' must match pattern {rule['AllowedPattern']}")
    if rule["Type"] == "Number" and not re.fullmatch(r"-?\d+(\.\d+)?", value):
        raise Bad(f"Parameter '{name}' must be a number")


@dataclass
class Scope:
    """What a name stands for: parameters, pseudo parameters, and resources as far as they are made."""

    template: Mapping[str, Any]
    values: Mapping[str, str]
    pseudo: Mapping[str, str]
    refs: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def wanted(self) -> dict[str, Mapping[str, Any]]:
        """The resources whose condition holds, each after those that it names."""
        there = {
            name: resource
            for name, resource in self.template["Resources"].items()
            if "Condition" not in resource or self.holds(resource["Condition"])
        }
        ordered: dict[str, Mapping[str, Any]] = {}
        while there:
            free = [name for name, resource in there.items() if not (_named(resource) & set(there)) - {name}]
            if not free:
                raise Bad(f"Circular dependency between resources: [{', '.join(there)}]")
            ordered |= {name: there.pop(name) for name in free}
        return ordered

    def holds(self, condition: str) -> bool:
        return bool(self.resolve(self.template["Conditions"][condition]))

    def resolve(self, node: Any) -> Any:
        """The plain value. Raises Bad."""
        if isinstance(node, list):
            return [value for value in map(self.resolve, node) if value is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1 and (function := _FUNCTIONS.get(next(iter(node)))):
            return function(self, next(iter(node.values())))
        resolved = {name: self.resolve(value) for name, value in node.items()}
        return {name: value for name, value in resolved.items() if value is not NO_VALUE}

    def outputs(self) -> dict[str, str]:
        return {
            name: str(self.resolve(output["Value"]))
            for name, output in self.template.get("Outputs", {}).items()
            if "Condition" not in output or self.holds(output["Condition"])
        }

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self.values:
            listed = self.template["Parameters"][name]["Type"] == "CommaDelimitedList"
            return [part.strip() for part in self.values[name].split(",")] if listed else self.values[name]
        for known in (self.pseudo, self.refs):
            if name in known:
                return known[name]
        raise Bad(f"Template format error: Unresolved resource dependencies [{name}] in the template")

    def _attribute(self, where: list[str]) -> str:
        name, attribute = where
        try:
            return self.attributes[name][attribute]
        except KeyError:
            raise Bad(f"Template error: resource {name} does not support attribute type {attribute}") from None

    def _sub(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1]
            return str(self._attribute(name.split(".", 1)) if "." in name else self._ref(name))

        return _SUBSTITUTED.sub(value, text)


def _if(scope: Scope, branches: list[Any]) -> Any:
    condition, then, otherwise = branches
    return scope.resolve(then if scope.holds(condition) else otherwise)


def _join(scope: Scope, words: list[Any]) -> str:
    between, parts = words
    return str(between).join(map(str, scope.resolve(parts)))


def _equals(scope: Scope, pair: list[Any]) -> bool:
    one, other = scope.resolve(pair)
    return str(one) == str(other)


_FUNCTIONS: dict[str, Callable[[Scope, Any], Any]] = {
    "Ref": Scope._ref,
    "Fn::GetAtt": Scope._attribute,
    "Fn::Sub": Scope._sub,
    "Fn::If": _if,
    "Fn::Join": _join,
    "Fn::Equals": _equals,
    "Fn::Not": lambda scope, one: not scope.resolve(one)[0],
    "Fn::And": lambda scope, all_of: all(scope.resolve(all_of)),
    "Fn::Or": lambda scope, any_of: any(scope.resolve(any_of)),
}


def _named(node: Any) -> set[str]:
    """Every name that is referred to in it."""
    return set(_names(node))


def _names(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for one in node:
            yield from _names(one)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name == "Ref":
                yield value
            elif name == "Fn::GetAtt":
                yield value[0]
            elif name == "Fn::Sub":
                yield from (match.split(".")[0] for match in _SUBSTITUTED.findall(value))
            elif name == "DependsOn":
                yield from [value] if isinstance(value, str) else value
            else:
                yield from _names(value)
