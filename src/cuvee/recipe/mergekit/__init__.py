"""Configurations of mergekit as recipes: the same merge in other words. Written for release 0.1.5."""

from cuvee.recipe.mergekit.documents import is_mergekit, recipes_of_documents

__all__ = ["is_mergekit", "recipes_of_documents"]
