#!/bin/sh
# Stands where multi-model-server expects a Python interpreter: one of these per model, in place of an interpreter.
# It gives its pid to the zygote, which reads the arguments from /proc, answers on this process's descriptor 3 and forks the
# model; then it waits for the end of its stdin, which is Java's end or the model's unloading.
# Anything but a model worker (multi-model-server also runs its metric_collector.py) is left at once.
case $1 in
  */model_service_worker.py) ;;
  *) exit 0 ;;
esac
exec 3>&1 # where the zygote answers: 1 is the fifo for as long as echo takes
echo $$ >"$MEDLEY_LAUNCHERS" || exit 1
while read -r _; do :; done
