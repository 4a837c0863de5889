"""What a provider and a model are called, in the price table's words. Pure.

Instrumentations, gateways and clouds write one model in many ways: `openai/gpt-4o`, `models/gemini-2.5-pro`,
`bedrock/us-east-1/us.anthropic.claude-…-v1:0`, an ARN, `publishers/anthropic/models/claude-sonnet-4-5@20250929`,
`ft:gpt-4o-mini-2024-07-18:acme::id`. This module turns such a pair into candidates to look up, the likeliest first; it never
guesses that a longer name is a shorter one (see `table`).
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

CHARS_MAX: Final = 300
_ALIASES: Final = {
    "google": "gemini gcp.gemini gcp.gen_ai gcp.vertex_ai google_genai google-genai google_gla google-gla google-vertex "
    "google_vertex google_vertexai google_ai_studio google-ai-studio google-ai google_ai vertex vertexai vertex_ai vertex-ai "
    "vertex_ai_beta google_generative_ai generativeai",
    "aws": "bedrock aws.bedrock aws_bedrock aws-bedrock amazon amazon_bedrock amazon-bedrock amazon.bedrock bedrock_converse "
    "amazon_nova",
    "azure": "azure.ai.openai az.ai.openai azure.ai.inference az.ai.inference azure_openai azure-openai azureopenai azure_ai "
    "azure-ai azure_ai_foundry azure_foundry microsoft.foundry azure.openai",
    "openai": "open_ai open-ai openai_chat openai-chat openai-responses openai_responses text-completion-openai",
    "anthropic": "anthropic_text claude",
    "x-ai": "xai x_ai x.ai grok",
    "mistral": "mistral_ai mistralai mistral-ai",
    "moonshotai": "moonshot moonshot_ai moonshot-ai",
    "together": "together_ai together-ai togetherai togethercomputer",
    "fireworks": "fireworks_ai fireworks-ai fireworksai",
    "voyageai": "voyage voyage_ai voyage-ai",
    "cohere": "cohere_chat cohere-ai cohere_ai",
    "perplexity": "perplexity_ai perplexity-ai pplx",
    "deepseek": "deepseek_ai deepseek-ai",
    "zhipuai": "zhipu zhipu_ai",
    "zai": "z-ai z_ai z.ai",
    "novita": "novita_ai novita-ai",
    "github-copilot": "github_copilot copilot",
    "minimax": "minimaxai minimax_ai",
}
PROVIDERS: Final = {alias: name for name, aliases in _ALIASES.items() for alias in (name, *aliases.split())}
"""Provider names as sources write them, and the price table's id for each."""
ROUTERS: Final = frozenset(
    {
        "",
        *[
            "litellm",
            "litellm_proxy",
            "litellm-proxy",
            "portkey",
            "helicone",
            "langchain",
            "langgraph",
            "llamaindex",
            "llama_index",
            "llama-index",
            "pydantic_ai",
            "pydantic-ai",
            "haystack",
            "crewai",
            "strands-agents",
            "autogen",
            "semantic_kernel",
            "vercel",
            "ai_sdk",
            "gateway",
            "ai_gateway",
            "kong",
            "traceloop",
            "openinference",
            "dspy",
            "instructor",
            "unknown",
            "none",
            "other",
            "_other",
            "custom",
        ],
    }
)
"""Names that say who passed the call on, not who served it: the model's own name decides."""
_OWNERS_OF_CLOSED_MODELS: Final = frozenset({"openai", "anthropic", "google", "x-ai"})
_SELF_HOSTED: Final = frozenset(
    [
        "ollama",
        "ollama_chat",
        "vllm",
        "hosted_vllm",
        "lmstudio",
        "lm_studio",
        "lm-studio",
        "llamacpp",
        "llama.cpp",
        "llama_cpp",
        "localai",
        "local",
        "tgi",
        "xinference",
        "sglang",
        "llamafile",
        "mlx",
        "triton",
        "nim",
        "nvidia_nim",
        "oobabooga",
    ]
)
_OWNERS: Final = (
    (re.compile(r"(?:ft:)?(?:gpt-|chatgpt-|o[134](?:-|$)|text-embedding-|davinci|babbage|codex-)"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"gemini-|gemini$"), "google"),
    (re.compile(r"grok-"), "x-ai"),
    (re.compile(r"command(?:-|$)|embed-(?:english|multilingual|v)|rerank-|c4ai-"), "cohere"),
    (re.compile(r"(?:labs-)?(?:mi|code|dev|magi|mini)stral|mixtral|pixtral|voxtral|open-mi[sx]tral"), "mistral"),
    (re.compile(r"deepseek-"), "deepseek"),
    (re.compile(r"sonar"), "perplexity"),
    (re.compile(r"kimi-|moonshot-"), "moonshotai"),
    (re.compile(r"voyage-"), "voyageai"),
    (
        re.compile(r"(?:(?:us|eu|apac|global|us-gov|jp|au|in|ca|sa)\.)?(?:anthropic|amazon|meta|mistral|cohere|ai21|writer)\."),
        "aws",
    ),
)
_PUBLISHERS: Final = re.compile(r"(?:.*/)?publishers/[^/]+/models/([^/]+)")
_ARN: Final = re.compile(r"arn:aws[a-z-]*:(?:bedrock|sagemaker)[^:]*:[^:]*:[^:]*:([a-z-]+)/(.+)")
_AWS_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d")
_COMPACT_DATE: Final = re.compile(r"([-@])(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=$|[-:])")
_DASHED_DATE: Final = re.compile(r"-(20\d\d)-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(?=$|[-:])")
_FINE_TUNED: Final = re.compile(r"(ft:[^:]+)(?::.*)?")
_AZURE_FINE_TUNED: Final = re.compile(r"(.+)\.ft-[0-9a-f]{8,}.*")


class Candidate(NamedTuple):
    """A pair to look up: an id of the price table and a model's name there."""

    provider: str
    model: str


@lru_cache(maxsize=4_096)
def provider_id(name: str) -> str:
    """The price table's id of a provider, or the name itself where it has no other."""
    word = name.strip().lower()[:CHARS_MAX]
    return PROVIDERS.get(word, word)


def is_opaque(model: str) -> bool:
    """Whether the name cannot say which model it is: a custom inference profile, a provisioned throughput, an endpoint."""
    match = _ARN.fullmatch(model.strip().lower())
    return match is not None and match[1] not in ("foundation-model", "inference-profile")


def candidates(provider: str, model: str) -> list[Candidate]:
    """What to look up, the likeliest first; empty where the name cannot say which model it is.

    Args:
        provider: Who served the call, in any spelling; may be empty or a gateway.
        model: The model's name as the source wrote it.
    """
    name = model.strip().lower()
    if not name or len(name) > CHARS_MAX or is_opaque(name):
        return []
    found: dict[Candidate, None] = {}
    for host, rest in _hosts(provider_id(provider), name):
        for spelling in _spellings(host, rest):
            found[Candidate(host, spelling)] = None
    return list(found)


def _hosts(provider: str, name: str) -> Iterator[tuple[str, str]]:
    """Who may have served it, and the model's name without the words before it that say so."""
    if match := _ARN.fullmatch(name):
        yield "aws", match[2]
        return
    if match := _PUBLISHERS.fullmatch(name):
        yield (provider if provider in PROVIDERS.values() else "google"), match[1]
        return
    name = name.removeprefix("models/")
    if provider not in ROUTERS:
        # With the whole name first: some hosts' own names have a vendor before a slash.
        yield provider, name
    head, slash, rest = name.partition("/")
    if slash and head in ROUTERS:
        yield from _hosts("", rest)
        return
    named = PROVIDERS.get(head, head) if slash else ""
    if slash and (named in PROVIDERS.values() or named in _EXTRA_HOSTS):
        if provider in _CLOUDS and named in _MAKERS:
            # A cloud's name of another maker's model.
            yield provider, rest
        elif named == provider or provider in ROUTERS or provider == "openai":
            # "openai" may be the client's library in front of a gateway; a model that is prefixed with its host is that host's.
            yield named, rest.removeprefix("models/")
        return
    owner = _owner(name)
    if owner and owner != provider and provider not in _SELF_HOSTED and _may_serve(provider, owner):
        yield owner, name


_EXTRA_HOSTS: Final = frozenset({"openrouter", "groq", "cerebras", "baseten", "databricks", "cloudflare", "cursor", "ovhcloud"})
_CLOUDS: Final = frozenset({"azure", "google", "aws"})
_MAKERS: Final = frozenset({"openai", "anthropic", "google", "mistral", "cohere", "deepseek", "x-ai", "meta"})
_HOSTS: Final = frozenset(PROVIDERS.values()) | _EXTRA_HOSTS


def _may_serve(provider: str, owner: str) -> bool:
    """Whether a call that names this provider may have been served by the model's maker."""
    if provider in ROUTERS or provider == "openai":
        # Nobody in particular; or OpenAI's client library in front of somebody else.
        return True
    if owner == "aws":
        # A maker's own client in front of Bedrock.
        return provider in _MAKERS
    return owner in _OWNERS_OF_CLOSED_MODELS and provider not in _HOSTS


def _owner(name: str) -> str:
    """Who makes a model of that name, or an empty text."""
    return next((owner for pattern, owner in _OWNERS if pattern.match(name)), "")


def _spellings(host: str, name: str) -> Iterator[str]:
    if host == "aws":
        name = _without_region(name)
    elif host == "azure":
        # How LiteLLM says which kind of deployment it is; the listed price is that of the global one.
        name = name.removeprefix("global-standard/").removeprefix("global/")
    if match := _FINE_TUNED.fullmatch(name):
        # A fine-tuned model has a price of its own; it is never its base model.
        name = match[1]
    elif match := _AZURE_FINE_TUNED.fullmatch(name):
        name = f"ft:{match[1]}"
    yield name
    bare, at, version = name.partition("@")
    if at and version in ("default", "latest", ""):
        yield bare
        name = bare
    if dashed := _COMPACT_DATE.sub(r"-\2-\3-\4", name):
        yield dashed
    if compact := _DASHED_DATE.sub(r"-\1\2\3", name):
        yield compact
    if at:
        yield name.replace("@", "-", 1)
    if host == "fireworks" and not name.startswith("accounts/"):
        yield f"accounts/fireworks/models/{name}"


def _without_region(name: str) -> str:
    """Bedrock names as LiteLLM writes them: `converse/…`, `us-east-1/…`, `us-east-1/1-month-commitment/…`."""
    while (cut := name.partition("/"))[1] and (
        cut[0] in ("converse", "invoke", "bedrock", "converse_like") or _AWS_REGION.fullmatch(cut[0])
    ):
        name = cut[2]
    return name
