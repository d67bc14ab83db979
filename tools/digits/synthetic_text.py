"""Texts for the synthetic voices: digit strings as people read them, and other words."""

DIGITS = "zero one two three four five six seven eight nine".split()
# Six, seven and nine have the fewest voices in the recorded sets.
WEIGHTS = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.6, 1.6, 1.0, 1.6]
LENGTHS = {1: 15, 2: 8, 3: 12, 4: 18, 5: 10, 6: 10, 7: 9, 8: 5, 9: 3, 10: 13}
# How people break up numbers, by length.
GROUPINGS = {
    4: [[4], [2, 2], [4]],
    5: [[5], [2, 3], [3, 2]],
    6: [[3, 3], [2, 2, 2], [6]],
    7: [[3, 4], [7], [3, 2, 2]],
    8: [[4, 4], [2, 2, 2, 2], [8]],
    9: [[3, 3, 3], [4, 5], [3, 2, 4]],
    10: [[3, 3, 4], [5, 5], [10], [4, 3, 3], [3, 3, 2, 2], [2, 2, 2, 2, 2]],
}
# Breaks: none, commas, full stops, a comma after each digit, or pauses cut in afterwards.
STYLES = {"run": 30, "comma": 30, "stop": 8, "each": 8, "pause": 24}


def digit_string(rng, number):
    """Words, groups of words and a style for the digit string of this number.

    The numbers count through all pairs of digits: each hundred of strings of two or more
    digits has every pair in it, whatever the generator draws.
    """
    length = rng.choices(list(LENGTHS), list(LENGTHS.values()))[0]
    digits = rng.choices(range(10), WEIGHTS, k=length)
    if length >= 2:
        at = rng.randrange(length - 1)
        digits[at:at + 2] = divmod(number * 37 % 100, 10)
    if length >= 3 and rng.random() < 0.3:
        run = min(rng.choice([2, 3, 3, 4]), length)
        at = rng.randrange(length - run + 1)
        digits[at:at + run] = [digits[at]] * run
    says_oh = rng.random() < 0.35
    words = ["oh" if digit == 0 and says_oh else DIGITS[digit] for digit in digits]
    sizes = rng.choice(GROUPINGS.get(length, [[length]]))
    groups, start = [], 0
    for size in sizes:
        groups.append(words[start:start + size])
        start += size
    style = rng.choices(list(STYLES), list(STYLES.values()))[0]
    return words, groups, style


def spoken_text(groups, style):
    """The groups with punctuation at which a synthesizer pauses."""
    if style == "each":
        return ", ".join(word for group in groups for word in group) + "."
    separator = {"run": " ", "comma": ", ", "stop": ". ", "pause": ", "}[style]
    return separator.join(" ".join(group) for group in groups) + "."


# The English digit words as writers of other languages spell them, so that the voices of
# these languages pronounce them with their own phones. In the order zero … nine, oh.
_SPELT = {
    "hi": "ज़ीरो वन टू थ्री फोर फाइव सिक्स सेवन एट नाइन ओ",
    "mr": "झीरो वन टू थ्री फोर फाइव सिक्स सेव्हन एट नाइन ओ",
    "ne": "जिरो वान टु थ्री फोर फाइभ सिक्स सेभेन एट नाइन ओ",
    "ta": "ஜீரோ வன் டூ த்ரீ ஃபோர் ஃபைவ் சிக்ஸ் செவன் எய்ட் நைன் ஓ",
    "te": "జీరో వన్ టూ త్రీ ఫోర్ ఫైవ్ సిక్స్ సెవెన్ ఎయిట్ నైన్ ఓ",
    "kn": "ಜೀರೋ ವನ್ ಟೂ ತ್ರೀ ಫೋರ್ ಫೈವ್ ಸಿಕ್ಸ್ ಸೆವೆನ್ ಎಯ್ಟ್ ನೈನ್ ಓ",
    "ml": "സീറോ വൺ ടൂ ത്രീ ഫോർ ഫൈവ് സിക്സ് സെവൻ എയ്റ്റ് നൈൻ ഓ",
    "bn": "জিরো ওআন টু থ্রি ফোর ফাইভ সিক্স সেভেন এইট নাইন ও",
    "gu": "ઝીરો વન ટૂ થ્રી ફોર ફાઇવ સિક્સ સેવન એઇટ નાઇન ઓ",
    "pa": "ਜ਼ੀਰੋ ਵਨ ਟੂ ਥ੍ਰੀ ਫੋਰ ਫਾਈਵ ਸਿਕਸ ਸੈਵਨ ਏਟ ਨਾਈਨ ਓ",
    "es": "siro uan tu tri for faiv siks seven éit nain ou",
    "es-419": "siro uan tu tri for faif siks seven éit nain ou",
    "it": "siro uan tu tri for faiv sics séven éit nain ou",
    "pt-br": "zírou uân tu tri fór faiv siks séven êit nain ôu",
    "fr-fr": "ziro ouane tou sri for faïve sixe sévène ète naïne o",
    "de": "ziero wan tuh trie foar faif siks sewen äit nain oh",
    "nl": "ziero wan toe trie foor faiv sikks seven eet nain oo",
    "pl": "ziro łan tu fri for fajw siks sewen ejt najn oł",
    "ru": "зиро уан ту сри фор файв сикс севен эйт найн оу",
    "tr": "ziro van tu tri for fayv siks sevın eyt nayn ou",
    "id": "ziro wan tu tri for faif siks seven eit nain o",
    "ms": "ziro wan tu tri for faif siks seven eit nain o",
    "cmn-latn-pinyin": "zi4rou1 wan1 tu4 si1rui4 fou4 fai4fu5 xi2ke5si5 sai4wen5 ei4te5 nai4en5 ou1",
    "ko": "지로 원 투 쓰리 포 파이브 식스 세븐 에잇 나인 오",
    "ja": "ゼロ ワン ツー スリー フォー ファイブ シックス セブン エイト ナイン オー",
    "sw": "ziro wan tu thri foo faiv siks seven eit nain oo",
    "fi": "siiro uan tuu trii foor faiv siks seven eit nain ou",
    "sv": "siro uan to tri får fajv siks seven ejt najn å",
    "el": "ζίρο ουάν του θρι φορ φάιβ σιξ σέβεν έιτ νάιν όου",
    "hu": "zíró uan tu szri for fájv sziksz szeven éjt nájn ó",
    "cs": "zírou uan tu srí fór fajf siks sevn ejt najn ou",
    "ro": "zirou uan tu tri for faiv sics seven eit nain ou",
}
ACCENT_DIGITS = {code: dict(zip([*DIGITS, "oh"], words.split())) for code, words in _SPELT.items()}

# Single words. Words that sound like a digit (to, too, for, won, ate) are not here, since
# they cannot be distinguished in isolation; they are in the phrases below.
_WORDS = """
yes no up down left right on off stop go backward forward follow learn bed bird cat dog happy house
marvin sheila tree wow visual free sex sick heaven eleven twelve fine line hive live dive drive fight find
know new knife wine mine nice night light kite eighty weight wait late gate hate fate great date
fun sun son run ton done gun want once when wonder window winter water toe tour tool tooth
true through threw throw thread free freeze feet feel fee tea key sea see she he me we be
fork force form floor door more store shore score foreign forest forty fourteen fifteen sixteen
seventeen eighteen nineteen thirteen twenty thirty fifty sixty seventy eighty ninety hundred thousand
first second third half double triple seventh sixth fix fish fist sit sits seeks socks sacks sex six-pack
seven-up several saving seventeen severn sever lemon leaven oven even raven cabin zebra hero
zeal series serious hello okay please thanks sorry call cancel dial open close play pause next back
repeat start volume louder softer music phone number extension star pound hash point dash
monday tuesday wednesday thursday friday saturday sunday morning evening tonight today tomorrow
""".split()
_WORDS = [word for word in dict.fromkeys(_WORDS) if "-" not in word]

_PHRASES = """
turn to the left|go to the store|this is for you|wait for me please|me too|that is too much
we won the game|who won the match|she ate an apple|he ate lunch at noon|they ate it all
not for long|thanks for waiting|for the last time|to be or not to be|too late to go
call me back|what is your phone number|please enter your pin|let me think about it|hold on please
turn the volume up|turn off the light|play some music|stop the music|set a timer for an hour
how are you today|nice to meet you|good morning everyone|see you tomorrow|what time is it
i do not know|i know that man|no thank you|go back home|never mind|of course|that is fine
the line is busy|he was in heaven|they live in a hive|the knife is mine|nine teen|the night is fine
free as a bird|a tree by the house|three quarters|the tree is green|through the door
she feels sick|he seeks the truth|the socks are red|fix it please|sit down here
twenty or thirty|forty or fifty|sixty or seventy|eighty or ninety|about a hundred people
sixteen candles|seventeen years|eighteen wheels|nineteen eighty|fourteen days|fifteen minutes
once upon a time|when i was young|want to come|the water is cold|the winter was long
it weighs a ton|wait at the gate|a great weight|the late train|what a great day
the door is open|more or less|the forest floor|the ball is on the floor|give me more
open the window|close the door|my name is john|where do you live|the weather is nice
the hero won|a series of events|the zebra is here|even so|every now and then
order a large coffee with milk|a small latte please|no sugar for me|can you hear me now
testing testing|hello hello|yes yes yes|no no no|okay okay|so so|well you know|let us go then
tell me a story|the train leaves soon|he went there alone|it is raining outside|are you there
""".replace("\n", "|").split("|")
_PHRASES = [phrase for phrase in _PHRASES
            if phrase and not set(phrase.split()) & {*DIGITS, "oh", "o"}]


def words_utterance(rng, number):
    """Words, groups and a style for an utterance without digit words."""
    draw = rng.random()
    if draw < 0.45:
        words = [_WORDS[(number * 7 + rng.randrange(7)) % len(_WORDS)]]
    elif draw < 0.6:
        words = rng.sample(_WORDS, rng.choice([2, 2, 3, 4]))
    else:
        words = rng.choice(_PHRASES).split()
    style = "run" if draw >= 0.6 else rng.choice(["run", "comma", "each"])
    return words, [words], style
