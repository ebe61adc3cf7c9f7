/* A tokenizer with one id a word, as `WordTokenizer` in hummingbird_core/text/tokenizer.py. */

const CONTEXT_LENGTH = 77; // ids of a prompt, with start and end
const [PADDING, UNKNOWN, START, END, FIRST_WORD] = [0, 1, 2, 3, 4];
const SYNONYMS = { an: "a" }; // for words that a vocabulary lacks

export class WordTokenizer {
  /** @param {object} values - of tokenizer.json */
  constructor(values) {
    if (values.kind !== "words")
      throw new Error(
        `got a model with the tokenizer "${values.kind}", expected a list of words: this page runs ` +
          "models with a vocabulary of whole words, such as the built-in one"
      );
    this.words = values.words;
    this.subjects = values.subjects ?? [];
    this.ids = new Map(this.words.map((word, index) => [word, index + FIRST_WORD]));
  }

  /** Return the ids of a prompt, and lines on text that has no effect. */
  tokenize(prompt) {
    const words = prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
    const room = CONTEXT_LENGTH - 2;
    const ids = [START, ...words.slice(0, room).map((word) => this.id(word)), END];
    while (ids.length < CONTEXT_LENGTH) ids.push(PADDING);
    return { ids, notes: this.notes(words, room) };
  }

  id(word) {
    return this.ids.get(word) ?? this.ids.get(SYNONYMS[word]) ?? UNKNOWN;
  }

  notes(words, room) {
    const notes = [];
    const unknown = words.filter((word) => this.id(word) === UNKNOWN);
    if (unknown.length) notes.push(`Words unknown to this model: ${unknown.join(", ")}.`);
    if (words.length > room) notes.push(`Too long, without effect: ${words.slice(room).join(" ")}.`);
    if (words.length && this.subjects.length && !this.subjects.some((name) => words.includes(name)))
      notes.push(`The prompt names nothing that this model shows: ${this.subjects.join(", ")}.`);
    return notes;
  }
}
