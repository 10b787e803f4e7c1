"""What can only be learned of a server by trying it."""

from autotts_gym.models.base import GREEDY, Endpoint, EndpointError, Prompt, Request, Sampling


async def same_seed_same_tokens(endpoint: Endpoint, prompt: Prompt) -> bool:
    """Whether the same seed gives the same tokens twice, and another seed others.

    With a temperature so high that two seeds agree by chance on few prompts.
    """
    texts = []
    for seed in (11, 11, 12, 13, 14):
        request = Request(prompt, 8, seed, Sampling(temperature=2.0))
        pieces = [piece async for piece in endpoint.generate(request)]
        texts.append((tuple(each for piece in pieces for each in piece.ids), "".join(piece.text for piece in pieces)))
    return texts[0] == texts[1] and len(set(texts[1:])) > 1


async def most_logprobs(endpoint: Endpoint, prompt: Prompt) -> int:
    """The most log-probabilities that come with each token: 20, 5 or 0, as servers have different limits."""
    for count in (20, 5):
        try:
            pieces = [piece async for piece in endpoint.generate(Request(prompt, 2, 1, GREEDY, top_logprobs=count))]
        except EndpointError:
            continue
        if any(piece.tops for piece in pieces):
            return count
    return 0
