"""What a model server is to this project: one interface, whatever the server."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self, TypeGuard

from autotts_gym.errors import AutottsError
from autotts_gym.validation import MAX_INTEGER, check, is_integer, is_real

if TYPE_CHECKING:
    from autotts_gym.models.completion import Patience

Prompt = tuple[int, ...] | str
"""Token ids, or text where a server takes no ids."""

Place = tuple[int, ...] | None
"""Where a server has a prefix in its cache; None: anywhere, or nowhere."""

Message = Mapping[str, str]
"""One message of a chat: ``role`` and ``content``."""

Notice = Callable[[str], None]
"""Gets a line on each failure that another call follows."""


def quiet(line: str) -> None:
    """The notice that tells nobody."""


class EndpointError(AutottsError):
    """A model server refused something, or is not as expected; asking again does not help."""


class ContextError(EndpointError):
    """A request does not fit the context of the model."""


class GaveUpError(EndpointError):
    """Something failed too often, each time in a way that may pass."""


class ModelChangedError(EndpointError):
    """The server has another model than when the work began."""


class RetryableError(AutottsError):
    """A request failed in a way that may pass.

    Attributes:
        wait: seconds that the server asks to wait; 0: it does not say.
        loading: whether the server says that it still loads its model.
    """

    def __init__(self, message: str, wait: float = 0.0, loading: bool = False) -> None:
        super().__init__(message)
        self.wait, self.loading = wait, loading


class LostIdsError(RetryableError):
    """A stream left token ids out, and they cannot be found again; an answer in one piece has them.

    Attributes:
        tokens: that were generated since the last one whose id came.
    """

    def __init__(self, message: str, tokens: int) -> None:
        super().__init__(message)
        self.tokens = tokens


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. All of it is sent with every request: servers have defaults of their own.

    Attributes:
        temperature: 0 is greedy.
        top_k: only so many of the likeliest tokens; 0: all.
        top_p: only the likeliest tokens that have this probability together; 1: all.
        min_p: only tokens with this share of the likeliest one's probability; 0: all.
        repeat_penalty: 1: none.

    Raises:
        AutottsError: a value is out of range.
    """

    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0

    def __post_init__(self) -> None:
        for name, low, high in (("temperature", 0, 100), ("top_p", 0, 1), ("min_p", 0, 1), ("repeat_penalty", 0, 100)):
            value = getattr(self, name)
            check(name, value, is_real(value, low, high), f"a number from {low} to {high}")
        check("top_k", self.top_k, is_integer(self.top_k), "a whole number from 0")
        check("top_p", self.top_p, self.top_p > 0, "a number above 0")


GREEDY = Sampling(temperature=0.0)
"""The likeliest token each time, as probes are asked."""


@dataclass(frozen=True)
class Request:
    """One stream of tokens to ask for.

    Attributes:
        prompt: what comes before.
        max_tokens: the most tokens to generate.
        seed: of the sampler, for this request alone.
        sampling: how tokens are drawn.
        top_logprobs: k; each token comes with the k largest log-probabilities. 0: without any.
        place: where the server has a prefix of this in its cache, as a ``Piece`` told; None: anywhere.
        whole: ask for the answer in one piece, not as a stream.
        counts: every piece tells what the prompt took, as it is needed of a stream that may be ended early.
    """

    prompt: Prompt
    max_tokens: int
    seed: int
    sampling: Sampling
    top_logprobs: int = 0
    place: Place = None
    whole: bool = False
    counts: bool = False


@dataclass
class Piece:
    """What came of a stream: usually one token.

    Attributes:
        ids: the token ids; none from a server of text.
        text: their text; a character of several tokens comes with its last one.
        count: how many tokens these are, known or not.
        logprobs: log-probability of each token, NaN where it is unknown; none if they were not asked for.
        tops: the largest log-probabilities at each token, likewise.
        finish: why the stream ended, with the last piece: "stop" (the model ended), "length" (``max_tokens``) or
            "context" (no room in the model's context); None: it goes on.
        prompt_tokens: tokens of the prompt, with the last piece or with every one; -1: unknown.
        cached_tokens: those of them that the server had in its cache; -1: unknown.
        total_tokens: tokens generated by the server's own count, with the last piece; -1: unknown.
        place: for ``Request.place``.
    """

    ids: Sequence[int] = ()
    text: str = ""
    count: int = 0
    logprobs: Sequence[float] = ()
    tops: Sequence[Sequence[float]] = ()
    finish: str | None = None
    prompt_tokens: int = -1
    cached_tokens: int = -1
    total_tokens: int = -1
    place: Place = None


@dataclass(frozen=True)
class Capabilities:
    """What a server can do, asked when the work begins.

    Attributes:
        server: "llama.cpp", "vllm", "sglang" or "openai" (any other that speaks its protocol).
        version: of the server, as it says.
        model: name of the model.
        ids: whether prompts are token ids and token ids come back. If not, all is text: a lesser mode.
        logprobs: k, the most log-probabilities that come back with a token; 0: none.
        context: the most tokens of prompt and answer together; None: unknown.
        seed: whether the same seed gave the same tokens twice.
        chat: whether the server renders chats to prompts.
        cached: whether it tells how many tokens it had in its cache.
        slots: requests that it works on at once; None: unknown.
        identity: what must stay the same while a collection goes on: names, revisions, hashes.
    """

    server: str
    version: str
    model: str
    ids: bool
    logprobs: int
    context: int | None
    seed: bool
    chat: bool
    cached: bool
    slots: int | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make one of what ``to_dict`` gave."""
        return cls(**{each.name: values[each.name] for each in fields(cls)})

    def lines(self) -> list[str]:
        """What to say about it, a line each; what is missing is named."""
        mode = "token ids" if self.ids else "text only: intervals are counted by what the server streams"
        lacks = [
            word
            for word, has in (
                ("log-probabilities (no signals)", self.logprobs),
                ("a context length", self.context is not None),
                ("reproducible seeds", self.seed),
                ("a chat template", self.chat),
                ("counts of cached tokens", self.cached),
            )
            if not has
        ]
        context = f", context {self.context:,} tokens" if self.context else ""
        return [
            f"{self.model} on {self.server} {self.version}: {mode}{context}",
            *([f"the server does not give: {', '.join(lacks)}"] if lacks else []),
        ]


class Endpoint(ABC):
    """A model server. Used as ``async with``; all methods may be called by many tasks at once.

    Attributes:
        name: its address, for messages.
    """

    name: str

    @abstractmethod
    async def capabilities(self, patience: "Patience | None" = None, notice: Notice = quiet) -> Capabilities:
        """Ask what the server can do, by trying it.

        Args:
            patience: how long failures are waited for.
            notice: gets a line on each failure that another call follows.

        Raises:
            EndpointError: there is no such server or model, or it failed too often.
        """

    @abstractmethod
    async def identity(self) -> dict[str, Any]:
        """Ask what must stay the same while work goes on; cheap.

        Raises:
            EndpointError: there is no such server or model.
            RetryableError: it cannot be reached, or still loads.
        """

    @abstractmethod
    def generate(self, request: Request) -> AsyncGenerator[Piece, None]:
        """Generate tokens; closing the generator cancels the request at the server.

        Yields:
            Pieces; the last one says why it ended.

        Raises:
            ContextError: the prompt and ``max_tokens`` do not fit the context.
            EndpointError: the server refuses the request.
            RetryableError: the server is busy, the connection is lost, or what comes makes no sense.
        """

    @abstractmethod
    async def tokenize(self, text: str, begins: bool = False) -> tuple[int, ...]:
        """The token ids of a text; names of special tokens in it stand for them.

        Args:
            text: the text.
            begins: whether a prompt begins with it: the token that begins every prompt is added, where the model has
                one.

        Raises:
            EndpointError: the server cannot.
            RetryableError: it cannot be reached.
        """

    @abstractmethod
    async def render(self, messages: Sequence[Message], options: Mapping[str, Any]) -> tuple[Prompt, str]:
        """The prompt of a chat, by the model's own template, up to where the assistant begins.

        Args:
            messages: the chat.
            options: for the template, such as ``enable_thinking``.

        Returns:
            The prompt, and its text.

        Raises:
            EndpointError: the server cannot.
            RetryableError: it cannot be reached.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    @abstractmethod
    async def close(self) -> None:
        """Close what is open."""


def are_ids(value: Any) -> TypeGuard[list[int]]:
    """Whether what a server sent is a list of token ids."""
    return isinstance(value, list) and all(type(each) is int and 0 <= each <= MAX_INTEGER for each in value)


def counted(value: Any) -> int:
    """What a server sent for a count; -1 if it is none."""
    return value if is_integer(value) else -1
