"""What all kinds of plug-ins share: how they are found, and what their signatures and docstrings say."""
