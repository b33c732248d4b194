"""The training pipeline of SageMaker: train every model, evaluate, judge, deploy.

definition renders a project as plain data, by steps; check says, without asking AWS, whether SageMaker would take it
(shapes, expressions), and graph draws it. remote sends it, starts it and asks how it goes; rows brings the data to
where it looks for them, and overrides has what one run is given other than its parameters say. gather and verdict are
what its judging and its deploying do: the function of AWS Lambda calls them.
"""
