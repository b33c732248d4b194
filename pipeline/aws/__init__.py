"""AWS, as all of Medley asks it: clients makes boto3's for a project, and words turns what they raise into sentences.

A call stands in `with asking("..."):` and either gives boto3's answer or leaves as Failed. What follows from an answer
is for the room that asked.
"""
