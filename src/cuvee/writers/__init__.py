"""The one place that creates files: checkpoints, written at final offsets and put in place by rename, or not at all.

Nothing here knows a recipe or a method.
"""
