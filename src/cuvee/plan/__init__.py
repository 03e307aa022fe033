"""Plans: recipes and headers to rows. Reads no weight; holds no tensor."""
