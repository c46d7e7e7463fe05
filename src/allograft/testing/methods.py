"""Contract of every method's settings: frozen, cited, the same after a round trip.

Each check raises AssertionError with what the method does wrong.
"""

from __future__ import annotations

import pickle

from allograft.contracts import Method

__all__ = ["check_method"]


def check_method(method: Method) -> None:
    """Check settings: default-constructible, frozen, equal after JSON and pickle, stable identity."""
    kind = type(method)
    assert kind() is not None, f"{kind.__name__} cannot be made without arguments"
    assert kind.name, f"{kind.__name__} has no name"
    assert kind.paper.title, f"{kind.__name__} cites no paper"
    again = kind.model_validate_json(method.model_dump_json())
    assert again == method, f"{kind.__name__} differs after JSON"
    assert pickle.loads(pickle.dumps(method)) == method, f"{kind.__name__} differs after pickle"
    assert again.content_id() == method.content_id(), f"{kind.__name__} has two identities"
    assert kind.model_config.get("frozen"), f"{kind.__name__} is not frozen"
    assert kind.model_config.get("extra") == "forbid", f"{kind.__name__} takes unknown fields"
