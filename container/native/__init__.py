"""The second front: the same contract without Java, on uvicorn, before the same zygote (`MEDLEY_FRONT=native`).

front.py      the process: starts the zygote, listens, passes signals on, ends with either
app.py        HTTP to verbs and back: the contract's calls, one answer for each error
catalog.py    which models there are
model.py      the life of one, and whose turn it is
worker.py     one connection to its process, in worker frames
link.py       between front and zygote: open, connect, close; closed, broken, mended, lost
entrance.py   the zygote's side of that
edge.py       what a client may take of us: time, size, connections
numbers.py    /metrics
"""
