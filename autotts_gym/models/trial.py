"""What can only be learned of a server by trying it."""

from autotts_gym.models.base import GREEDY, Endpoint, EndpointError, Prompt, Request, Sampling
from autotts_gym.models.completion import complete


async def gives_ids(endpoint: Endpoint, prompt: Prompt) -> bool:
    """Whether token ids come back with all tokens."""
    done = await complete(endpoint, Request(prompt, 2, 1, GREEDY))
    return len(done.ids) == len(done.ends) > 0


async def tells_cached(endpoint: Endpoint, prompt: Prompt) -> bool:
    """Whether the server tells how many tokens it had in its cache."""
    return (await complete(endpoint, Request(prompt, 1, 1, GREEDY))).cached_tokens >= 0


async def same_seed_same_tokens(endpoint: Endpoint, prompt: Prompt) -> bool:
    """Whether the same seed gives the same tokens twice, and another seed others.

    With a temperature so high that two seeds agree by chance on few prompts.
    """
    texts = []
    for seed in (11, 11, 12, 13, 14):
        done = await complete(endpoint, Request(prompt, 8, seed, Sampling(temperature=2.0)))
        texts.append((done.ids.tolist(), done.text))
    return texts[0] == texts[1] and any(text != texts[0] for text in texts[2:])


async def most_logprobs(endpoint: Endpoint, prompt: Prompt) -> int:
    """The most log-probabilities that come with each token: 20, 5 or 0, as servers have different limits."""
    for count in (20, 5):
        try:
            done = await complete(endpoint, Request(prompt, 2, 1, GREEDY, top_logprobs=count))
        except EndpointError:  # a server that has fewer refuses
            continue
        if done.logprobs:
            return count
    return 0
