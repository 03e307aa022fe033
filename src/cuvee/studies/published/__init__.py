"""Tables of papers, as data, to be drawn beside ours."""
