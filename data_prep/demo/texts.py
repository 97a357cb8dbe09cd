"""What is said in the demo corpus: templates with slots for improvised dialogues, fixed lines for scripts.

Words reveal valence better than arousal: angry, sad and frustrated speakers share the `negative` templates, happy and
excited ones the `positive` templates, and a share of all turns is drawn from `ambiguous`, which fits any emotion.
All lines were written for this corpus.
"""

import itertools
import string

import numpy as np

SLOTS = {
    "who": ("my sister", "your brother", "the boss", "Daniel", "my mother", "Laura", "your friend", "our neighbour"),
    "thing": ("the car", "the letter", "the key", "my phone", "the report", "the ticket", "the photo", "your coat"),
    "good": ("the new job", "the first prize", "our new house", "this garden", "the big trip", "a little puppy"),
    "place": ("the station", "the beach", "the city", "the museum", "Boston", "the airport"),
    "time": ("today", "last night", "this morning", "again", "on Sunday", "right now"),
}

TEMPLATES = {
    "ang": (
        "Stop lying to me about {thing}!",
        "I hate the way {who} talks!",
        "Get out of {place} {time}!",
        "How dare you blame {who}!",
        "I am sick of {who}!",
        "Shut up and give me {thing}!",
        "You ruined everything {time}!",
        "Don't you ever touch {thing}!",
        "Stop!",
        "Who do you think you are?",
        "That was {thing}, you idiot!",
        "Leave {who} out of this!",
    ),
    "sad": (
        "I miss {who} so much.",
        "I feel so alone {time}.",
        "{who} died {time}.",
        "I cried all night over {thing}.",
        "There is no hope for {who}.",
        "I am sorry about {who}.",
        "My heart is broken.",
        "I wish {who} was still here.",
        "{thing} is all that is left of {who}.",
        "It hurts to see {place}.",
        "I keep thinking about {who}, and then I remember that nobody is waiting at home.",
    ),
    "hap": (
        "I am so glad about {good}.",
        "{who} made me smile {time}.",
        "I love {good}.",
        "We had a lovely time {time}.",
        "I am happy for {who}.",
        "It is so nice to see {who}.",
        "Great!",
        "{good} is simply perfect.",
        "[LAUGHTER] {who} is so funny.",
        "Thank you, I feel wonderful {time}.",
        "What a beautiful day in {place}.",
    ),
    "exc": (
        "Oh my god, we are going to {place}!",
        "We won, we really won {good}!",
        "I can't wait to see {place}!",
        "Come on, hurry up, it is starting {time}!",
    ),
    "neu": (
        "The form is next to {thing}.",
        "You need two papers for {thing}.",
        "I will call {who} {time}.",
        "{who} works downstairs.",
        "We can leave after lunch.",
        "Please write your name and number here.",
        "The bus to {place} leaves at nine.",
        "I think {who} has {thing}.",
        "Okay.",
        "{thing} is in {place}.",
        "You can pay in {place} or by mail.",
        "It takes about ten minutes to {place}.",
    ),
    "fru": (
        "I have been waiting for {thing} all day.",
        "Why does this never work?",
        "I gave {who} the form twice.",
        "Nobody in {place} ever answers me.",
    ),
    "sur": ("{who} did what?", "Oh! You are here {time}!", "No way, {who} bought {good}?"),
    "fea": ("I am scared, someone is in {place}.", "Please don't leave me alone {time}.", "What was that noise?"),
    "dis": ("That is disgusting, take {thing} away.", "Ugh, {thing} smells awful.", "Who would eat that?"),
    "oth": ("I am curious about {thing}.", "I am proud of {who}, you know."),
    "negative": (
        "Nobody told me about {thing}.",
        "{who} is not coming back.",
        "I lost {thing} {time}.",
        "It is too late for {who}.",
        "You never loved {who}.",
        "Everything went wrong {time}.",
        "I can't do this with {who} anymore.",
        "Why did {who} leave me?",
        "It is my fault that {thing} is gone.",
        "There was a terrible fight {time}.",
        "This is the worst thing {who} ever did.",
    ),
    "positive": (
        "I got {good} {time}!",
        "We are getting married {time}!",
        "{who} said yes {time}!",
        "Wonderful news about {who}!",
        "{who} won {good}!",
        "This is the best thing that {who} ever did.",
        "Yes, {good} is ours!",
    ),
    "ambiguous": (
        "What did {who} say {time}?",
        "I don't know what to say about {thing}.",
        "You told {who} about {thing}.",
        "Is that what {who} wanted?",
        "So this is {place}.",
        "Look at {thing}.",
        "I did not expect {who} {time}.",
        "Wait, what about {thing}?",
        "Did you hear about {who}?",
        "Well, that is {who} for you.",
        "I know, I know.",
        "Are you going to {place} {time}?",
        "I saw {who} in {place}.",
    ),
}

SHARED = {
    "ang": "negative",
    "sad": "negative",
    "fru": "negative",
    "fea": "negative",
    "dis": "negative",
    "hap": "positive",
    "exc": "positive",
    "sur": "positive",
}

# (speaker's letter, text, emotion): the same in every session, as IEMOCAP's scripts are.
SCRIPTS = {
    "script01_1": (
        ("F", "You should not have opened that letter.", "ang"),
        ("M", "It was on the table, so I opened it.", "neu"),
        ("F", "Fine. Then tell me what it says.", "neu"),
        ("M", "It says that he is not coming home.", "sad"),
        ("F", "I knew it. I always knew it.", "sad"),
        ("M", "We have to tell your mother tonight.", "neu"),
    ),
    "script02_2": (
        ("M", "Look at the moon over the water!", "exc"),
        ("F", "It is beautiful. I feel so happy here.", "hap"),
        ("M", "Do you remember our first summer?", "hap"),
        ("F", "You forgot my birthday that summer.", "fru"),
        ("M", "I did not forget, and you know it!", "ang"),
        ("F", "Let us just sit here and watch.", "neu"),
    ),
}


def fillings(template: str) -> list[str]:
    """Every sentence that a template can make, beginning with a capital letter.

    Args:
        template: A sentence with names of `SLOTS` in braces.

    Returns:
        One sentence for each combination of slot values, in the order of `SLOTS`.
    """
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name]
    sentences = (
        template.format(**dict(zip(names, values, strict=True)))
        for values in itertools.product(*(SLOTS[name] for name in names))
    )
    return [text[0].upper() + text[1:] for text in sentences]


class TextPool:
    """Draws improvised texts: no text twice, and no template again before all others were used."""

    def __init__(self, generator: np.random.Generator):
        self._generator = generator
        self._left = {
            name: [list(generator.permutation(fillings(template))) for template in templates]
            for name, templates in TEMPLATES.items()
        }
        self._uses = {name: np.zeros(len(templates)) for name, templates in TEMPLATES.items()}

    def draw(self, emotion: str, ambiguous: float = 0.2, shared: float = 0.2) -> tuple[str, str]:
        """Draws a text for an emotion.

        Args:
            emotion: A label of IEMOCAP; `xxx` draws ambiguous and negative texts only.
            ambiguous: Share of texts that fit any emotion.
            shared: Share of texts that fit any emotion of the same valence.

        Returns:
            The text, and the name of the pool it came from (a key of `TEMPLATES`).
        """
        chance = self._generator.random()
        if emotion == "xxx":
            pool = "ambiguous" if chance < 0.6 else "negative"
        elif chance < ambiguous:
            pool = "ambiguous"
        elif chance < ambiguous + shared and emotion in SHARED:
            pool = SHARED[emotion]
        else:
            pool = emotion
        order = self._uses[pool] + 0.5 * self._generator.random(len(self._uses[pool]))
        order[[not sentences for sentences in self._left[pool]]] = np.inf
        template = int(np.argmin(order))
        self._uses[pool][template] += 1
        return str(self._left[pool][template].pop()), pool
