"""Greedy decoding with a cache: token by token, or by drafts that the model verifies.

Plain greedy decoding gives one token a pass of the trunk. With *self-speculation* the
heads that look further ahead draft the tokens after the next one, and the next pass reads
them: drafts are accepted as long as they are what head 1 says, so the tokens are those of
plain decoding, and a pass may give several. A pass, with heads of offsets 2 and 3:

```
known          a  b  c                  head 1 said c; drafts for the two tokens after it
read           c  d* e*                 d*, e*: the drafts
head 1 says       d  f  ?               d* is accepted, e* is not: f is what follows d
known          a  b  c  d  f            two tokens from one pass
next drafts                 g* h*       of the heads at the last position that was read
                                        rightly, that of d
```

The draft of depth k is that of a head with offset k + 1. A head that is given tokens after
its position (a chain, injection) reads the drafts before its own; once other tokens took
their place it must run again there, so that a pass also reads again the last tokens that
a head is given. Rows advance at their own pace: attention keeps its keys by position, and
recurrences keep their state after each of the last tokens, to go back to one of them.

`acceptance` at depth k is the share of drafts of depth k that were accepted, of those
whose shallower ones all were; tokens a pass are 1 + sum over k of the product of the
first k. Letters: K lanes, B batch, R rows, T positions, C tokens of a continuation, J
drafts, W tokens that a pass reads.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from synth.models.decoder import PredictionModel
from synth.objectives.objective import ObjectiveConfig
from synth.tasks.packing import PADDING
from synth.tasks.task import Rows

MAX_POSITIONS = 8192
"""Positions of one lane in a batch of evaluation."""


def draft_heads(objective: ObjectiveConfig) -> list[int]:
    """The heads (1..n) that draft depth 1, 2, ...: offsets 2, 3, ... without a gap."""
    by_offset = {
        head.offset: number
        for number, head in reversed(list(enumerate(objective.heads(), 1)))
    }
    found: list[int] = []
    while (offset := len(found) + 2) in by_offset:
        found.append(by_offset[offset])
    return found


def why_no_drafts(objective: ObjectiveConfig) -> str:
    """Why a model with this objective drafts nothing; empty if it does."""
    if objective.decodes_at_once:
        return f"{objective.arm} decodes a whole answer in one pass, without drafts"
    if not draft_heads(objective):
        return f"{objective.arm} drafts nothing: no head predicts the token after next"
    return ""


@dataclass
class DraftCounts:
    """How drafts fared, in each lane."""

    checked_KJ: np.ndarray
    """Drafts of depth 1, 2, ... whose shallower ones were all accepted."""
    accepted_KJ: np.ndarray
    """Those of them that were accepted too."""
    tokens_K: np.ndarray
    """Tokens that were decoded."""
    passes_K: np.ndarray
    """Passes of the trunk that gave them; those over the prompts count."""

    @classmethod
    def zeros(cls, num_lanes: int, depth: int) -> "DraftCounts":
        """Nothing counted yet."""
        sizes = ((num_lanes, depth), (num_lanes, depth), num_lanes, num_lanes)
        return cls(*(np.zeros(size, np.int64) for size in sizes))

    def add(self, other: "DraftCounts") -> None:
        """Count what another one has counted."""
        for name, counts in vars(other).items():
            vars(self)[name] += counts


@dataclass(frozen=True)
class Continuation:
    """What follows the prompts of a batch."""

    tokens_KBC: Tensor
    """Given an end token, those after it are padding."""
    counts: DraftCounts


@torch.no_grad()
def continue_greedily(
    model: PredictionModel,
    prompts_KBT: Tensor,
    count: int,
    end_token: int | None = None,
    speculate: bool = False,
) -> Continuation:
    """The `count` tokens that follow prompts of one length under greedy decoding.

    They are the same with `speculate`, from fewer passes.

    Raises `ValueError` when the model is to speculate and has nothing to draft with.
    """
    if speculate and (reason := why_no_drafts(model.objective)):
        raise ValueError(f"{reason}. Decode without speculation.")
    if model.objective.decodes_at_once:
        return _at_once(model, prompts_KBT, count, end_token)
    decoder = _Decoder(model, prompts_KBT, count, end_token, speculate)
    while decoder.active_KB.any():
        decoder.step()
    return decoder.result()


class _Decoder:
    """The rows of a batch while they are decoded."""

    def __init__(
        self,
        model: PredictionModel,
        prompts_KBT: Tensor,
        count: int,
        end_token: int | None,
        speculate: bool,
    ) -> None:
        self.model, self.end_token = model, end_token
        self.heads = draft_heads(model.objective) if speculate else []
        ancestors = [h for head in self.heads for h in model.objective.path(head)]
        self.given = max((model.plan[head - 1].given for head in ancestors), default=0)
        self.behind = max(self.given, 1)
        """Known tokens that a pass reads: the last, and those that heads are given."""
        self.prompt = prompts_KBT.shape[-1]
        self.room = self.prompt + count
        self.depth = len(self.heads)
        back = self.behind + self.depth if self.depth else 0
        self.cache = model.start_decoding(self.room, back)
        more = count + self.depth + self.behind
        self.tokens_KBT = functional.pad(prompts_KBT, (0, more), value=PADDING)
        self.known_KB = torch.full_like(prompts_KBT[..., 0], self.prompt)
        """Tokens of each row so far."""
        self.active_KB = self.known_KB < self.room
        self.ready = 0
        """Drafts that stand after the known tokens of every row."""
        self.start_KB, self.width = torch.zeros_like(self.known_KB), self.prompt
        """The tokens that the next pass reads."""
        num_lanes = model.num_lanes
        self.passes_K = prompts_KBT.new_zeros(num_lanes)
        self.checked_KJ = prompts_KBT.new_zeros(num_lanes, self.depth)
        self.accepted_KJ = torch.zeros_like(self.checked_KJ)

    def step(self) -> None:
        """One pass of the trunk: check the drafts, take what follows, draft again."""
        states: dict[int | None, Tensor] = {
            None: self.model.read(self._window(), self.cache)
        }
        last_KB = self.known_KB - 1 - self.start_KB
        said_KBJ = self._said(states, 1, last_KB, 1 + self.ready)
        self._take(said_KBJ)
        here_KB = self.known_KB - 2 - self.start_KB
        for depth, head in enumerate(self.heads):
            draft_KB1 = self._said(states, head, here_KB, 1)
            self.tokens_KBT.scatter_(-1, self.known_KB[..., None] + depth, draft_KB1)
        self.ready = self.depth
        reading = self.cache.reading
        if self.depth:
            self.start_KB = (self.known_KB - self.behind).clamp(min=0)
            self.width = self.behind + self.depth
            reading.start_KB = self.start_KB
        else:
            reading.start += self.width
            self.start_KB, self.width = self.start_KB + self.width, 1

    def _window(self, more: int = 0) -> Tensor:
        """The tokens of this pass, and some after them, (K, B, W + more)."""
        ahead_W = torch.arange(self.width + more, device=self.tokens_KBT.device)
        return self.tokens_KBT.gather(-1, self.start_KB[..., None] + ahead_W)

    def _said(
        self, states: dict[int | None, Tensor], head: int, at_KB: Tensor, count: int
    ) -> Tensor:
        """The likeliest tokens of a head at `count` places of the window, (K, B, count).

        `states` has those of heads that have run in this pass, and gets the head's.
        """
        for one in self.model.objective.path(head):
            if one not in states:
                parent = states[self.model.plan[one - 1].parent]
                window = self._window(self.given)
                states[one] = self.model.run_head(one, parent, window, cache=self.cache)
        # Rows that have ended stay where they are: what is said there is not used.
        at_KBJ = at_KB.clamp(min=0)[..., None] + torch.arange(
            count, device=at_KB.device
        )
        state_KBWD = states[head]
        index = at_KBJ[..., None].expand(-1, -1, -1, state_KBWD.shape[-1])
        return self.model.unembed(state_KBWD.gather(2, index)).argmax(-1)

    def _take(self, said_KBJ: Tensor) -> None:
        """Accept drafts, and append them and what follows to the known tokens."""
        place_KBJ = self.known_KB[..., None] + torch.arange(
            self.ready + 1, device=said_KBJ.device
        )
        inside_KBJ = (place_KBJ < self.room) & self.active_KB[..., None]
        ends_KBJ = torch.zeros_like(inside_KBJ)
        if self.end_token is not None:
            ends_KBJ = said_KBJ == self.end_token
            ended = ends_KBJ.cumsum(-1) - ends_KBJ.long()
            inside_KBJ &= ended == 0
        draft_KBJ = self.tokens_KBT.gather(-1, place_KBJ[..., :-1])
        accepted_KBJ = (draft_KBJ == said_KBJ[..., :-1]).long().cumprod(-1).bool()
        taken_KBJ = functional.pad(accepted_KBJ, (1, 0), value=True) & inside_KBJ
        self.tokens_KBT.scatter_(
            -1,
            place_KBJ,
            torch.where(taken_KBJ, said_KBJ, self.tokens_KBT.gather(-1, place_KBJ)),
        )
        self.passes_K += self.active_KB.sum(-1)
        if self.ready:
            checked_KBJ = taken_KBJ[..., :-1]
            self.checked_KJ += checked_KBJ.sum(1)
            self.accepted_KJ += (checked_KBJ & accepted_KBJ).sum(1)
        self.known_KB += taken_KBJ.sum(-1)
        self.active_KB &= self.known_KB < self.room
        self.active_KB &= ~(ends_KBJ & taken_KBJ).any(-1)

    def result(self) -> Continuation:
        """The continuations; what was drafted beyond them is padding."""
        place_T = torch.arange(self.room, device=self.tokens_KBT.device)
        beyond_KBT = place_T >= self.known_KB[..., None]
        tokens_KBT = self.tokens_KBT[..., : self.room].masked_fill(beyond_KBT, PADDING)
        tokens_K = (self.known_KB - self.prompt).sum(-1)
        counts = (self.checked_KJ, self.accepted_KJ, tokens_K, self.passes_K)
        return Continuation(
            tokens_KBT[..., self.prompt :],
            DraftCounts(*(part.cpu().numpy() for part in counts)),
        )


def _at_once(
    model: PredictionModel, prompts_KBT: Tensor, count: int, end_token: int | None
) -> Continuation:
    """All tokens of the answers from one pass, where the objective decodes so."""
    answer_KBC = prompts_KBT.new_full((*prompts_KBT.shape[:2], count), PADDING)
    tokens = torch.cat((prompts_KBT, answer_KBC), -1)
    answer = torch.zeros_like(tokens, dtype=torch.bool)
    answer[..., -count:] = True
    read = model.objective.inputs(tokens, answer)
    (state, *_) = model.head_states(model.run_trunk(read), read)
    said_KBC = model.unembed(state[:, :, -count - 1 : -1]).argmax(-1)
    counts = DraftCounts.zeros(model.num_lanes, 0)
    counts.passes_K += prompts_KBT.shape[1]
    inside_KBC = torch.ones_like(said_KBC, dtype=torch.bool)
    if end_token is not None:
        ends_KBC = (said_KBC == end_token).long()
        inside_KBC = ends_KBC.cumsum(-1) - ends_KBC == 0
    counts.tokens_K += inside_KBC.sum((1, 2)).cpu().numpy()
    return Continuation(said_KBC.masked_fill(~inside_KBC, PADDING), counts)


def greedy_decode(
    model: PredictionModel,
    rows: Rows,
    device: torch.device,
    end_token: int | None = None,
) -> np.ndarray:
    """Decode the answer of each row (one example a row) with head 1, feeding back.

    Returns tokens_KRT: the rows with their answer tokens replaced by decoded ones. Rows
    with questions of equal length share a batch. An answer is as long as that of its row
    or, given an end token, as decoded: up to this token or the end of the row, with
    padding after it.
    """
    return _decode_rows(model, rows, device, end_token)[0]


def speculate(
    model: PredictionModel,
    rows: Rows,
    device: torch.device,
    end_token: int | None = None,
) -> tuple[np.ndarray, DraftCounts]:
    """What `greedy_decode` returns, decoded by self-speculation, and how drafts fared.

    Raises `ValueError` when the model has nothing to draft with: see `why_no_drafts`.
    """
    return _decode_rows(model, rows, device, end_token, speculate=True)


def _decode_rows(
    model: PredictionModel,
    rows: Rows,
    device: torch.device,
    end_token: int | None,
    speculate: bool = False,
) -> tuple[np.ndarray, DraftCounts]:
    num_lanes = model.num_lanes
    decoded = np.broadcast_to(rows.tokens_RT, (num_lanes, *rows.tokens_RT.shape)).copy()
    depth = len(draft_heads(model.objective)) if speculate else 0
    counts = DraftCounts.zeros(num_lanes, depth)
    for index, start, count in _batches(rows, end_token):
        prompts_BT = torch.from_numpy(rows.tokens_RT[index, :start].astype(np.int64))
        prompts_KBT = prompts_BT.to(device).expand(num_lanes, -1, -1)
        found = continue_greedily(model, prompts_KBT, count, end_token, speculate)
        decoded[:, index, start : start + count] = found.tokens_KBC.cpu().numpy()
        counts.add(found.counts)
    return decoded, counts


def answer_places(
    rows: Rows, end_token: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Where the answer of each row begins, and its most tokens (0 without an answer)."""
    start_R, count_R = rows.answer_RT.argmax(1), rows.answer_RT.sum(1)
    if end_token is None:
        return start_R, count_R
    return start_R, np.where(count_R > 0, rows.answer_RT.shape[1] - start_R, 0)


def _batches(
    rows: Rows, end_token: int | None
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Row numbers with questions of one length, this length, and the tokens to decode."""
    start_R, room_R = answer_places(rows, end_token)
    answers = rows.answer_RT.sum(1)
    places = zip(start_R.tolist(), room_R.tolist(), strict=True)
    for start, count in sorted({(start, count) for start, count in places if count}):
        index = np.flatnonzero((start_R == start) & (room_R == count))
        held = start
        if end_token is not None:
            # Short answers together: a batch goes on until its longest one has ended.
            index = index[np.argsort(answers[index], kind="stable")]
            held += count
        for part in np.array_split(index, 1 + len(index) * held // MAX_POSITIONS):
            yield part, start, count
