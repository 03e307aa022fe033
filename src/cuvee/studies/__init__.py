"""Built-in studies: experiments a user can run, each from nothing to its table."""
