"""The `medley` command: words in, one call of another room, text or JSON out.

main is the command, with a module for each area of it; what a command does is not here. options has what they share:
the options of those that work on a project, how data is printed, and the one place where a failure becomes a sentence
and an exit code. terminal keeps text of others from being taken for orders to the terminal.
"""
