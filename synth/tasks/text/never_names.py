"""Capitalised words that are not names: titles, kin, days, months, holidays, peoples.

Lists of English words in lower case. They are capitalised everywhere, so the share of
capitals cannot tell them from names.
"""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOPPED = _words(
    "mr mrs ms mx dr st prof rev fr sr jr messrs mme mlle capt col gen lt sgt maj hon"
)
"""Titles whose full stop does not end a sentence."""

_TITLES = STOPPED | _words(
    "miss mister missus missis master mistress madam madame mademoiselle monsieur "
    "messieurs sir sire lord lady lordship ladyship majesty highness dame doctor "
    "professor saint reverend captain colonel general lieutenant sergeant corporal "
    "major admiral officer judge justice president minister bishop cardinal pope king "
    "queen prince princess emperor empress sultan czar tsar tsarina count countess "
    "duke duchess baron baroness earl marquis marquess viscount squire esquire herr "
    "frau fraulein fräulein senor señor senora señora signor signora monseigneur"
)
_KIN = _words(
    "mother father mum mom mommy mummy mam mama mamma mammy papa pappa dad daddy pa ma "
    "granny gran grandma grandpa grandad granddad grandmother grandfather nana aunt "
    "aunty auntie uncle brother sister cousin nurse"
)
_DAYS = _words(
    "monday tuesday wednesday thursday friday saturday sunday january february march "
    "july september october november december mondays tuesdays wednesdays thursdays "
    "fridays saturdays sundays christmas xmas christmastime easter eastertide halloween "
    "thanksgiving hanukkah chanukah kwanzaa ramadan diwali eid passover lent michaelmas "
    "whitsun whitsuntide pentecost whitsunday epiphany advent ascension lammas "
    "candlemas hallowmas"
)
_PEOPLES = _words(
    "english french german spanish italian russian latin greek dutch irish scottish "
    "scotch welsh danish swedish norwegian polish austrian hungarian portuguese turkish "
    "persian arab arabic arabian chinese japanese indian african american european "
    "asian egyptian hebrew jewish jew jews christian christians roman romans catholic "
    "protestant muslim mohammedan hindu buddhist englishman englishmen englishwoman "
    "frenchman frenchmen frenchwoman irishman scotchman scotsman dutchman welshman "
    "germans russians italians indians americans greeks turks british "
    "briton"
)
_SACRED = _words("god gods heaven providence almighty creator bible gospel scripture")
_EXCLAMATIONS = _words("oh ah eh ha ho ow uh um hm hmm ok okay")
GRAMMAR = _words(
    "the a an this that these those my thy your his her its our their no some any every "
    "each all both i me thou thee you he him she it we us they them ye mine yours who "
    "whom whose which what and but or nor so yet for if then than as because though "
    "while when where why how of in on at by to from with without into upon over under "
    "after before up down out off here there now not never ever is are was were be been "
    "am do does did has have had can could shall should would must let one two three "
    "four five six seven eight nine ten first second third such only even just once "
    "again still also too very more most other another else yes"
)
"""Words that are never names. It lacks will, may and mark, which can be."""
DETERMINERS = _words(
    "the a an this that these those my thy your his her its our their no some any every "
    "each"
)
"""Words before nouns and epithets: the Lion, his Majesty."""
BEFORE_PLACES = _words("in into")
BEFORE_DATES = _words(
    "of on last next early late mid since until till from by during through"
)
"""Words before months, besides `BEFORE_PLACES`."""
MONTHS_AND_NAMES = _words("april may june august")
"""Months that are also first names: decided for each text, ignoring dates."""
_ACRONYMS = _words(
    "TV OK USA UK US EU UN UFO AM PM AD BC BCE CE ID PE NASA SOS VIP ABC IOU DIY ATM "
    "CIA FBI RIP AKA"
)
_ROMAN = re.compile(r"M*(C[MD]|D?C{0,3})(X[CL]|L?X{0,3})(I[XV]|V?I{0,3})")
_VOWELS = frozenset("AEIOUY")
REASONS = {
    "titles": _TITLES,
    "kin": _KIN,
    "days and holidays": _DAYS,
    "peoples and languages": _PEOPLES,
    "sacred words": _SACRED,
    "exclamations": _EXCLAMATIONS,
    "grammar words": GRAMMAR,
}
_REASON_OF = {word: reason for reason, words in REASONS.items() for word in words}


def reason_never(word: str) -> str:
    """Why a capitalised word is never a name; empty if it may be one.

    >>> reason_never("Mrs"), reason_never("TV"), reason_never("Rose")
    ('titles', 'acronyms and numerals', '')
    """
    if len(word) == 1:
        return "single letters"
    reason = _REASON_OF.get(word.lower(), "")
    if not reason and word.isupper() and word.isascii():
        vowels = _VOWELS & set(word)
        if word in _ACRONYMS or not vowels or _ROMAN.fullmatch(word):
            return "acronyms and numerals"
    return reason
