#!/bin/sh
# install.sh PYTHON FOLDER [NAME ...]: core.lock, and the locks of those names, into FOLDER; for the Dockerfile.
# One closed set of pinned versions, every hash checked but PyTorch's and those of what it asks for. The libraries' own
# tests, sources and debugging symbols are taken out: a fifth of their size.
set -eu
python=$1 folder=$2
shift 2
locks="-r requirements/image/core.lock"
for name in "$@"; do
  [ "$name" != torch ] || continue
  if [ "$name" = core ] || ! [ -f "requirements/image/$name.lock" ]; then
    names=$(find requirements/image -name '*.lock' ! -name core.lock -exec basename -s .lock -a {} + | sort | tr '\n' ' ')
    echo "FRAMEWORKS: there is no $name, but ${names}and torch" >&2
    exit 2
  fi
  locks="$locks -r requirements/image/$name.lock"
done
install() { "$python" -m pip install --no-cache-dir --no-compile --ignore-installed --prefix "$folder" "$@"; }
# shellcheck disable=SC2086  # $locks is words
install --require-hashes --no-build-isolation --no-deps $locks
install_torch() {  # a hash among the constraints would have pip ask for all hashes, and torch.txt has none
  constraints=$(mktemp)
  sed -e '/^ *--hash=/d' -e 's/ *\\$//' requirements/image/core.lock > "$constraints"
  install -c "$constraints" -r requirements/torch.txt
  rm "$constraints"
}
case " $* " in *" torch "*) install_torch ;; esac
places=$(find "$folder" -type d -name site-packages)
find "$places" -type d -name tests -prune -exec rm -r {} +
find "$places" -type f -name '*.py[xi]' -delete
find "$places" -name '*.so' -not -path '*.libs/*' -exec strip --strip-debug {} +  # not the repaired ones, in *.libs
rm -rf "${folder:?}/bin" "${folder:?}/share"
"$python" -m compileall -q -j 0 "$folder" || true  # a library may carry a file that no Python can read
