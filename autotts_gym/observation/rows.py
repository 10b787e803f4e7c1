"""The compiled loop over the rows of observations."""

import numpy as np

from autotts_gym.engine.addresses import call_encoder, unpack
from autotts_gym.engine.jit import kernel


@kernel
def encode(addresses, chosen, encoder, out):
    """Encode the chosen episodes (N,) bool into their rows of out (N, P + M F) float32."""
    s = unpack(addresses)
    for n in range(len(chosen)):
        if chosen[n]:
            call_encoder(encoder, s, np.uint64(n), out)
