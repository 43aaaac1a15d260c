"""The museum: bugs put back on purpose, each of which passes all ordinary tests, and which the simulation must catch.

A bug swaps one or two functions of the product (or of the writer in the simulation, where it stands for the engine) for wrong
ones. `python -m tests.museum` hunts them all and prints which seed caught each, and how long that took.
"""
