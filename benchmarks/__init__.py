"""Side by side with what people run today: the same artifacts, one machine, one run, server after server.

`python -m benchmarks` trains two models in a process of its own, unpacks them under many names, then takes turns: this
container, then multi-model-server with sagemaker-inference's default handler service, round after round. A turn starts
one server, measures it and ends it, so only one is ever up. That is what makes the figures fair: proportional memory
counts a page once per process that maps it, and a second server with the same libraries would halve it; an idle Java
still collects garbage and starts an interpreter a minute on the cores that the other one needs.

    artifacts   training   what is served, and the library's own answers
    servers     processes  the two ways to serve, their processes and their memory
    client      exercise   the load generator, and what one turn does with it
    figures     report     medians, ratios, bounds; JSON and a table
"""
