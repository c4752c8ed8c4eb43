"""Which of two networks with the same name is meant. Apart from the networks, because schemas must not load torch."""

from typing import Literal

Semantics = Literal["current", "torchvision-0.1.9"]
"""Which network a name refers to: the installed torchvision's, or the one in torchvision 0.1.9, which the paper used.
Version 0.1.9 pooled with windows of fixed size where adaptive pooling is used today, and its ImageNet weights are the
first release for each network."""
