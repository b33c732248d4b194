#!/bin/sh
# install.sh PYTHON FOLDER [NAME ...]: core.lock, and the locks of those names, into FOLDER; for the Dockerfile.
# One closed set of pinned versions, every hash checked. The libraries' own tests, sources and debugging symbols are taken
# out: a fifth of their size.
set -eu
python=$1 folder=$2
shift 2
locks="-r requirements/image/core.lock"
for name in "$@"; do
  [ "$name" != torch ] || continue
  if ! [ -f "requirements/image/$name.lock" ]; then
    echo "FRAMEWORKS: there is no $name, but $(basename -s .lock -a requirements/image/*.lock | tr '\n' ' ')and torch" >&2
    exit 2
  fi
  locks="$locks -r requirements/image/$name.lock"
done
install() { "$python" -m pip install --no-cache-dir --no-compile --ignore-installed --prefix "$folder" "$@"; }
# shellcheck disable=SC2086  # $locks is words
install --require-hashes --no-build-isolation --no-deps $locks
case " $* " in *" torch "*) install -c requirements/image/core.lock -r requirements/torch.txt ;; esac
places=$(find "$folder" -type d -name site-packages)
find "$places" -type d -name tests -prune -exec rm -r {} +
find "$places" -type f -name '*.py[xi]' -delete
find "$places" -name '*.so' -not -path '*.libs/*' -exec strip --strip-debug {} +  # not the repaired ones, in *.libs
rm -rf "${folder:?}/bin" "${folder:?}/share"
"$python" -m compileall -q -j 0 "$folder" || true  # a library may carry a file that no Python can read
