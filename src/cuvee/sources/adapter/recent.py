"""The products that were asked for last, ready to be asked again. Knows nothing of what they are of."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from cuvee.sources.adapter.product import Product

__all__ = ["PRODUCTS", "Recent"]

PRODUCTS = 4
"""How many stay: a merge reads tensors one after the other, several workers at a time."""


class Recent:
    """Products by name; of more than PRODUCTS, those that were asked for longest ago go."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Product] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str, make: Callable[[], Product]) -> Product:
        """Return the product of a name; other threads wait while it is made."""
        with self._lock:
            product = self._kept.pop(name, None) or make()
            self._kept[name] = product
            while len(self._kept) > PRODUCTS:
                self._kept.popitem(last=False)
            return product

    def clear(self) -> None:
        """Let go of all."""
        with self._lock:
            self._kept.clear()
