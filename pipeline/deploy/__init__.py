"""An endpoint: from medley.toml and an image to one that serves, and back to what served before.

    desired, image -> what there should be
    observed       -> what there is
    plan           -> the steps from one to the other (scaling and cleanup are parts of it)
    steps, wait    -> carry them out, or print them

run puts these together, for `medley deploy` and for the function of AWS Lambda; records is what they hand to each
other, and states says in which states SageMaker takes a change. Beside that: warm invokes a model before somebody waits
for it, status says what stands, cost what it costs.
"""
