"""What the local endpoint costs and holds: `python -m benchmarks.endpoint overhead | zipf | stampede`.

    overhead    what it adds to a warm call, beside a direct call to the same container, in turns
    zipf        a catalogue far larger than memory, calls by Zipf's law: answers, latencies, hit rate beside Belady's
    stampede    many first calls for one model at the same time: one fetch, one load

Each prints a table and writes every figure to `build/bench-endpoint-*.json`.
"""
