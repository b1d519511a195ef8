//! Bytes that look like nothing, like source code, like a database dump; the same for the same name, always.
//!
//! Randomness is BLAKE3's output stream keyed by a name: fast, portable, and no dependency more.

use std::fmt::Write as _;

/// An endless stream of bytes that follows from its name.
pub struct Stream(blake3::OutputReader);

impl Stream {
    /// The stream of this name.
    pub fn named(name: &str) -> Self {
        Self(blake3::Hasher::new_derive_key("strongroom-bench 1").update(name.as_bytes()).finalize_xof())
    }

    /// The next bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        self.0.fill(buffer);
    }

    /// The next number below `end`. Biased by less than one in 2³²: good enough for shapes.
    pub fn below(&mut self, end: u32) -> u32 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u32::try_from(u64::from_le_bytes(bytes) % u64::from(end)).expect("a rest is below its divisor")
    }
}

/// Text that compresses about as source code does: few words often, many words seldom, indented lines.
pub struct Sources {
    stream: Stream,
    words: Vec<String>,
}

const SYLLABLES: [&str; 24] = [
    "be", "con", "de", "er", "fi", "ge", "ha", "in", "jo", "ka", "le", "mu", "no", "or", "pre", "qu", "re", "set",
    "to", "un", "val", "wi", "ex", "ys",
];
const OPENINGS: [&str; 10] =
    ["let ", "if ", "self.", "return ", "for ", "match ", "pub fn ", "// ", "assert!(", "use crate::"];
const ENDINGS: [&str; 6] = [";\n", " {\n", ");\n", ",\n", "}\n", "\n\n"];

impl Sources {
    /// The text of this name. All texts share their words, as files of one project do.
    pub fn named(name: &str) -> Self {
        let mut vocabulary = Stream::named("words");
        let words = (0..4096)
            .map(|_| {
                let syllables = 1 + vocabulary.below(4);
                (0..syllables).map(|_| SYLLABLES[vocabulary.below(24) as usize]).collect::<Vec<_>>().concat()
            })
            .collect();
        Self { stream: Stream::named(name), words }
    }

    /// The next `bytes` bytes of it.
    pub fn text(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 128);
        while text.len() < bytes {
            let depth = self.stream.below(5) as usize;
            text.push_str(&"                "[..depth * 4]);
            text.push_str(OPENINGS[self.stream.below(10) as usize]);
            for _ in 0..=self.stream.below(5) {
                let word = self.word();
                text.push_str(&self.words[word]);
                text.push_str(["_", ".", " ", "(", ", "][self.stream.below(5) as usize]);
            }
            text.push_str(ENDINGS[self.stream.below(6) as usize]);
        }
        text.truncate(bytes);
        text
    }

    /// The square of an even choice: a few words make up most of the text.
    fn word(&mut self) -> usize {
        let even = self.stream.below(4096) as usize;
        even * even / 4096
    }
}

/// Rows of a table as a dump has them: about half of each is random, the rest repeats.
pub struct Dump {
    stream: Stream,
    row: u64,
}

impl Dump {
    /// The dump of this name.
    pub fn named(name: &str) -> Self {
        Self { stream: Stream::named(name), row: 0 }
    }

    /// The next whole rows, at least `bytes` of them.
    pub fn rows(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 256);
        let fits = "text grows in memory";
        while text.len() < bytes {
            self.row += 1;
            let mut token = [0; 32];
            self.stream.fill(&mut token);
            let (row, state) = (self.row, ["open", "paid", "sent", "closed"][usize::from(token[0] % 4)]);
            write!(text, "INSERT INTO public.orders VALUES ({row}, '{state}', 'customer-{}', '", token[1]).expect(fits);
            for byte in token {
                write!(text, "{byte:02x}").expect(fits);
            }
            writeln!(text, "', '2026-{:02}-{:02}');", 1 + token[2] % 12, 1 + token[3] % 28).expect(fits);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(bytes: &[u8]) -> f64 {
        bytes.len() as f64 / zstd::bulk::compress(bytes, 3).unwrap().len() as f64
    }

    #[test]
    fn a_name_gives_the_same_bytes_always() {
        let take = |name: &str| {
            let mut bytes = [0; 100];
            Stream::named(name).fill(&mut bytes);
            bytes
        };
        assert_eq!(take("a"), take("a"));
        assert_ne!(take("a"), take("b"));
        assert_eq!(Sources::named("a").text(5000), Sources::named("a").text(5000));
        assert_eq!(Dump::named("a").rows(5000), Dump::named("a").rows(5000));
    }

    #[test]
    fn shapes_compress_as_what_they_stand_for() {
        let mut random = vec![0; 1 << 20];
        Stream::named("x").fill(&mut random);
        assert!(ratio(&random) < 1.01);
        let dump = ratio(Dump::named("x").rows(1 << 20).as_bytes());
        assert!((2.5..3.5).contains(&dump), "a dump compresses {dump}:1");
        let sources = ratio(Sources::named("x").text(1 << 20).as_bytes());
        assert!((2.8..5.0).contains(&sources), "sources compress {sources}:1");
    }
}
