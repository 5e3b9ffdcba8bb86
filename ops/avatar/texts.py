"""Sentences for training (made from words) and sentences held out from it."""

from __future__ import annotations

import numpy as np

_WORDS = tuple(
    """
    about above across after again air all along also always animal answer apple around ask away
    baby back ball bank base be beautiful because become bed before began begin behind below
    best better between big bird black blue boat body bone book both bottom box boy branch bread
    break bridge bright bring brother brown build busy but buy by call calm came can car care
    carry catch cause change chart cheese child choose church city class clean clear climb clock
    close cloud coast coin cold color come common cook corn could count country course cover
    cross crowd cry cup cut dance dark day deep design did difficult dinner do dog door doubt
    down draw dream drive drop dry each early earth east easy eat edge eight either else empty
    end enjoy enough equal even evening ever every example eye face fact fair fall family famous
    far farm fast father feel few field fight figure fill final find fine finger finish fire
    first fish five flow flower fly follow food foot for force forest form four free fresh
    friend from front fruit full game garden gather gave general gentle get girl give glass go
    gold good grass great green ground group grow guess had half hand happen happy hard has have
    he head hear heart heat heavy help here high hill his hold home hope horse hot hour house
    how huge human hundred idea if imagine important in inch island job join joy judge jump just
    keep kind king knew knowledge lake land language large last late laugh law lead learn leave
    left length less let letter life light like line list listen little live long look lot loud
    love low machine made main make many map mark may mean measure meat meet metal might mile
    milk mind minute money month moon more morning most mother mountain mouth move much music
    must name narrow nature near never new next night nine noise north nose note nothing now
    number object ocean off often oil old once one open orange order other our out over own page
    paint pair paper part pass past pattern people perhaps person picture piece place plan plant
    play please point poor possible power practice present problem promise push question quick
    quiet quite rain raise reach read ready real reason red remember rest rich ride right ring
    river road rock roll room rope round rule run sail salt same sand say school science sea
    season second see seem sell send seven shall shape share she sheep shine ship shoe shop
    short should shoulder show side sign silver simple sing sister sit six size skin sky sleep
    slow small smile smooth snow soft some song soon sound south space speak spell spring square
    stand star start stay step still stone stop store story straight strange street strong
    student study such sugar summer sun sure surface swim table take talk tall teach team tell
    ten test than thank that the then there these thick thing think third this though thought
    thousand three through throw time together tomorrow too took top touch toward town train
    travel tree trip trouble true try turn two under until up us use usual valley very view
    village visit voice vowel walk wall want war warm was watch water wave way we wear weather
    week well west what wheel where which while white who whole why wide wild will win wind
    window winter wish with without woman wonder wood word work world would write wrong year
    yellow yes yet young zero zoo
""".split()  # noqa: SIM905
)
_JOINTS = ("and", "but", "of the", "to a", "with the", "in the", "when we", "so that you", "or")
_ENDS = (".", ".", ".", "?", "!", ",", ";")

HELD_OUT_TEXT = (
    "Welcome back, everybody. Today we will explore how a volcano forms beneath the ocean floor.",
    "Photosynthesis lets a leaf turn sunshine, moisture and carbon dioxide into sweet food.",
    "My grandmother baked marvellous blueberry muffins; we ate them by the fireplace, hot.",
    "Whenever you multiply both halves of a fraction by the same amount, its value stays put.",
    "Could anybody explain why the pyramids were assembled from such enormous blocks of limestone?",
    "Brave explorers mapped faraway harbours, and whales popped up beside their wooden vessels.",
    "Please open your workbook, pick a pencil, and compare your paragraph with Barbara's.",
    "Wow, that was an awesome attempt! Now let us review the vocabulary before Thursday's exam.",
    "A jovial astronaut floated upward above the atmosphere, humming a familiar melody.",
    "Remember: curiosity opens doors, patience keeps them open, and kindness invites people in.",
)


def training_sentence(random: np.random.Generator) -> str:
    """A sentence of 5 to 12 random words with joints and punctuation."""
    words: list[str] = []
    for word in random.choice(_WORDS, int(random.integers(5, 13))):
        words.append(str(word))
        if random.random() < 0.16:
            words.append(str(random.choice(_JOINTS)))
        if random.random() < 0.05:
            words[-1] += ","
    return " ".join(words).capitalize() + str(random.choice(_ENDS))
