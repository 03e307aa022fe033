"""The demo: trains one base and four experts on handwritten digits, merges them as a user would, and scores everything.

`run` holds the line from nothing to the table; `data` the images; `network` and `train` the models; `merges` what is
merged and how a setting is chosen; `score` the accuracies; `table` and `bars` what the terminal shows.
"""
