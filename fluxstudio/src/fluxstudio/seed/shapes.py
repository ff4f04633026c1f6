"""The shapes of real use: few are very active, most are not, and work comes in bursts."""

from fluxstudio.seed.dice import Dice

# Members of a project: 2 to 20, about 6 on average, and more where more is said.
_MIN_MEMBERS = 2
_MAX_MEMBERS = 20


def zipf_shares(total: int, parts: int, *, exponent: float = 1.0, flatten: float = 10.0) -> list[int]:
    """`total` cut into `parts`, the k-th in proportion to 1 / (k + flatten)^exponent, each at least 1, sum exact.

    `flatten` keeps the first from dwarfing the second (Mandelbrot's form of Zipf's law).
    """
    if total < parts:
        raise ValueError(f"{total} cannot be cut into {parts} parts of at least 1")
    weights = [1.0 / (rank + flatten) ** exponent for rank in range(1, parts + 1)]
    scale = (total - parts) / sum(weights)
    shares = [1 + int(weight * scale) for weight in weights]
    for i in range(total - sum(shares)):
        shares[i % parts] += 1
    return shares


def member_count(dice: Dice, messages: int) -> int:
    """How many people share a project in which `messages` are written."""
    mean = 1.9 + 0.55 * messages.bit_length()
    return min(_MAX_MEMBERS, _MIN_MEMBERS + int(dice.exponential(mean)))


def conversation_length(dice: Dice) -> int:
    """Messages of one conversation: many are a single remark, some go on (1 to 14, about 4.3 on average)."""
    draw = dice.random()
    if draw < 0.14:
        return 1
    if draw < 0.30:
        return 2
    if draw < 0.62:
        return dice.between(3, 4)
    if draw < 0.92:
        return dice.between(5, 7)
    return dice.between(8, 14)


def conversation_lengths(dice: Dice, messages: int) -> list[int]:
    """Lengths of conversations that together are exactly `messages`."""
    lengths = []
    while messages > 0:
        length = min(messages, conversation_length(dice))
        lengths.append(length)
        messages -= length
    return lengths


def unread(dice: Dice) -> int:
    """How many messages a member has not read: mostly none, some in the tens, some more than a badge can show."""
    draw = dice.random()
    if draw < 0.52:
        return 0
    if draw < 0.74:
        return dice.between(1, 9)
    if draw < 0.91:
        return dice.between(10, 99)
    return 100 + int(dice.exponential(120))


def days_of_work(dice: Dice, *, first: int, last: int, wanted: int, per_day: int) -> list[tuple[int, int]]:
    """`wanted` different (day, slot) pairs of the days `first` … `last`, in order, clustered as work is.

    A burst is a few days in a row with several conversations each; between bursts there is silence. A weekend day
    is mostly skipped (day 0 is a Saturday, as `sizes.START` is). Where the days are too few, every one is used.
    """
    span = last - first + 1
    if wanted > span * per_day:
        raise ValueError(f"{wanted} conversations do not fit into {span} days")
    taken: set[int] = set()
    misses = 0
    while len(taken) < wanted:
        day = first + int(dice.random() * span)
        for _ in range(dice.between(1, 5)):
            if day > last:
                break
            weekend = day % 7 < 2
            if not weekend or dice.random() < 0.12 or misses > span:
                before = len(taken)
                for _ in range(dice.between(1, per_day)):
                    if len(taken) < wanted:
                        taken.add(day * per_day + int(dice.random() * per_day))
                misses += len(taken) == before
            day += 1
    return [divmod(position, per_day) for position in sorted(taken)]
