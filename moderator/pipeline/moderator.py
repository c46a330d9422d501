"""The library's front door: load once, then check single posts or scan streams of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from copy import copy
from itertools import islice
from types import TracebackType
from typing import Any, Self

from moderator import __version__
from moderator.errors import CheckpointError, PluginError
from moderator.fusion.checkpoint import Checkpoint, load_checkpoint
from moderator.host import PluginHost
from moderator.pipeline.judge import Judge
from moderator.pipeline.models import CHECKPOINT, model_directory, resolve_device, with_model_weights
from moderator.pipeline.scorer import Scorer
from moderator.pipeline.workers import Worker, detector_worker, embedder_worker, extractor_worker
from moderator.policy.catalogue import find_policy
from moderator.policy.evaluate import Evaluator
from moderator.policy.load import load_policy
from moderator.policy.route import PolicyRouter
from moderator.policy.schema import Policy
from moderator.routing import Router
from moderator.settings import Settings, load_settings
from moderator.taxonomy import DEFAULT, Taxonomy
from moderator.types import Action, Embedding, Item, Modality, PluginFailure, Verdict


class Moderator:
    """Judges items. Build it with ``Moderator.load()``; use it from one thread at a time.

    Plugins load their weights on the first content of their modality, so the first call is slower.
    """

    def __init__(
        self,
        host: PluginHost,
        checkpoint: Checkpoint,
        policy: Policy,
        settings: Settings,
        *,
        device: str = "cpu",
    ) -> None:
        """Put together from parts; ``load`` does it from settings."""
        self.host = host
        self.checkpoint = checkpoint
        self.policy = policy
        self.settings = settings
        self.device = device
        self._executor: Executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="decode")
        signals = [spec for detector in host.detectors.values() for spec in detector.signals]
        self.route: Router = PolicyRouter(policy, signals)
        """Where the review task of a verdict waits, and its head start."""
        embedders, missing = _embedder_workers(host, checkpoint, device, settings.plugin_timeout)
        self._judge = Judge(
            limits=settings.limits,
            scorer=Scorer(checkpoint, device),
            evaluator=Evaluator(policy, signals),
            embedders=embedders,
            detectors=[
                detector_worker(each, device, settings.plugin_timeout) for each in host.detectors.values()
            ],
            extractors=[
                extractor_worker(each, device, settings.plugin_timeout) for each in host.extractors.values()
            ],
            missing=missing,
            software=f"moderator {__version__}",
            executor=self._executor,
        )

    @classmethod
    def load(
        cls,
        *,
        model: str | None = None,
        policy: str | None = None,
        device: str | None = None,
        settings: Settings | None = None,
        taxonomy: Taxonomy = DEFAULT,
    ) -> Self:
        """Load a model (default: the shipped one) and a policy (a name or a file).

        ``settings`` default to ``moderator.toml`` and the environment; the other arguments win over
        them. Raises ``ModeratorError`` of the kind that fits: settings, checkpoint, policy.
        """
        settings = settings or load_settings(model=model, policy=policy, device=device)
        device = resolve_device(device or settings.device)
        directory = model_directory(model or settings.model)
        checkpoint = load_checkpoint(directory / CHECKPOINT, taxonomy, device)
        settings = with_model_weights(
            settings, directory, [spec.name for spec in checkpoint.config.embedders]
        )
        host = PluginHost.discover(settings, checkpoint.config.labels)
        failed = dict.fromkeys(each.plugin for each in host.failures if each.stage != "options")
        files = find_policy(policy or settings.policy, host.policies, tuple(failed))
        signals = [spec for detector in host.detectors.values() for spec in detector.signals]
        rules = load_policy(
            files.source,
            checkpoint.config.labels,
            signals,
            files.shown,
            failed=host.lost,
            blocked=tuple(host.blocked),
        )
        return cls(host, checkpoint, rules, settings, device=device)

    @property
    def failures(self) -> Sequence[PluginFailure]:
        """Plugins that could not be used, and why."""
        # the model brings options for its embedders; where one is blocked, verdicts say so themselves
        named = {spec.name for spec in self.checkpoint.config.embedders}
        return [each for each in self.host.failures if each.stage != "options" or each.plugin not in named]

    @property
    def unused(self) -> tuple[str, ...]:
        """Embedders that are installed but that the checkpoint was not trained with."""
        used = {spec.name for spec in self.checkpoint.config.embedders}
        return tuple(name for name in self.host.embedders if name not in used)

    def check(
        self,
        *,
        text: Any = None,
        image: Any = None,
        audio: Any = None,
        video: Any = None,
        context: Mapping[str, Any] | None = None,
        id: str = "",
    ) -> Verdict:
        """Judge one post. Parts as in ``Item.of``; content that cannot be judged never raises."""
        return self.judge(
            [Item.of(id=id, text=text, image=image, audio=audio, video=video, context=context)]
        )[0]

    def judge(self, items: Sequence[Item]) -> list[Verdict]:
        """Judge a batch of posts; one verdict each, in order, the same whatever the batch."""
        return self._judge.judge(items) if items else []

    def judge_without(self, items: Sequence[Item], plugin: str) -> list[Verdict]:
        """As ``judge``, with one embedder or extractor left out: what does it bring? Raises ``PluginError``
        if the model has none of this name."""
        if plugin not in self.readers:
            raise PluginError(f"{plugin}: not among what the model reads with: {', '.join(self.readers)}")
        judge = copy(self._judge)
        judge.embedders = [each for each in judge.embedders if each.plugin.name != plugin]
        judge.extractors = [each for each in judge.extractors if each.plugin.name != plugin]
        return judge.judge(items)

    @property
    def readers(self) -> Mapping[str, Modality]:
        """Embedders and extractors in use, and the modality of each."""
        used = [each.plugin for each in self._judge.embedders]
        used += [each.plugin for each in self._judge.extractors]
        return {plugin.name: plugin.modality for plugin in used}

    def scan(self, items: Iterable[Item]) -> Iterator[tuple[Item, Verdict]]:
        """Judge a stream of posts, ``settings.batch_size`` at a time, without holding more than that."""
        stream = iter(items)
        while batch := list(islice(stream, self.settings.batch_size)):
            yield from zip(batch, self.judge(batch), strict=True)

    def filter(self, items: Iterable[Item]) -> Iterator[Item]:
        """The posts the policy allows; ``review`` and ``block`` are left out."""
        return (item for item, verdict in self.scan(items) if verdict.action is Action.ALLOW)

    def close(self) -> None:
        """Stop the decoding threads. Also done by leaving a ``with`` block."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _embedder_workers(
    host: PluginHost, checkpoint: Checkpoint, device: str, timeout: float
) -> tuple[list[Worker[Embedding]], dict[Modality, list[str]]]:
    """Workers for the embedders the checkpoint names, and what to say where one is missing."""
    workers = []
    missing: dict[Modality, list[str]] = {}
    for spec in checkpoint.config.embedders:
        embedder = host.embedders.get(spec.name)
        if embedder is None or embedder.modality is not spec.modality:
            missing.setdefault(spec.modality, []).append(
                f"{spec.name}: the model needs this plugin, which is not installed or not allowed"
            )
            continue

        def loaded(embedder: Any = embedder, spec: Any = spec) -> None:
            if embedder.fingerprint != spec.fingerprint or embedder.dim != spec.dim:
                raise CheckpointError(
                    f"the model was trained with {spec.name} {spec.fingerprint} ({spec.dim} wide), here is "
                    f"{embedder.fingerprint} ({embedder.dim} wide); use the same weights, or train a model"
                )

        workers.append(embedder_worker(embedder, device, timeout, loaded))
    return workers, missing
