//! The shader preprocessor: six comment directives, the same code at build time (validation) and at run time.
//!
//! ```text
//! //#include "shared/grid.wgsl"    the file's text, once a shader
//! //#if FLAG    //#if !FLAG        lines kept when the flag is set (not set)
//! //#if A|B                         lines kept when one of the flags is set
//! //#else       //#endif
//! //#repeat N   //#end            lines N times: not every driver unrolls a loop that is worth it
//! ```
//! They are comments, so that editors take the files for plain WGSL. `build.rs` includes this file by its path: nothing
//! in it may depend on the crate.

/// A line of an expanded shader and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// The text without its newline.
    pub text: &'a str,
    /// File below `shaders/`.
    pub file: &'a str,
    /// Line in that file, from 1.
    pub number: usize,
}

/// A directive that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// File below `shaders/`.
    pub file: String,
    /// Line in that file, from 1.
    pub number: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.number, self.reason)
    }
}

/// The lines of `file` with its includes and the conditions for `flags` resolved. `source` gives the text of a file by its
/// path below `shaders/`. A file is included once a shader, however often it is asked for.
///
/// # Errors
/// [`Fault`] for a missing file, an unknown directive, or conditions and repetitions that are not closed where they were opened.
pub fn expand<'a>(
    source: &impl Fn(&str) -> Option<(&'a str, &'a str)>,
    file: &str,
    flags: &[&str],
) -> Result<Vec<Line<'a>>, Fault> {
    let mut expansion = Expansion { source, flags, included: Vec::new(), lines: Vec::new() };
    let Some((name, text)) = source(file) else {
        return Err(Fault { file: file.into(), number: 0, reason: "no such shader".into() });
    };
    expansion.file(name, text)?;
    Ok(expansion.lines)
}

/// The lines as one text.
pub fn join(lines: &[Line<'_>]) -> String {
    let mut text = String::with_capacity(lines.iter().map(|l| l.text.len() + 1).sum());
    for line in lines {
        text.push_str(line.text);
        text.push('\n');
    }
    text
}

struct Expansion<'a, 'b, S> {
    source: &'b S,
    flags: &'b [&'b str],
    included: Vec<&'a str>,
    lines: Vec<Line<'a>>,
}

impl<'a, S: Fn(&str) -> Option<(&'a str, &'a str)>> Expansion<'a, '_, S> {
    fn file(&mut self, file: &'a str, text: &'a str) -> Result<(), Fault> {
        self.included.push(file);
        // For every open condition: whether its lines are kept, and whether `else` was seen.
        let mut open: Vec<(bool, bool)> = Vec::new();
        // For every open repetition: its first line, its count, and the conditions that were open.
        let mut repeats: Vec<(usize, usize, usize)> = Vec::new();
        let mut last = 0;
        for (index, text) in text.lines().enumerate() {
            let number = index + 1;
            last = number;
            let fault = |reason: String| Fault { file: file.into(), number, reason };
            let kept = open.iter().all(|(kept, _)| *kept);
            let Some(directive) = text.trim_start().strip_prefix("//#") else {
                if kept {
                    self.lines.push(Line { text, file, number });
                }
                continue;
            };
            let (word, argument) = directive.trim_end().split_once(' ').unwrap_or((directive.trim_end(), ""));
            match (word, argument.trim()) {
                ("if", flag) if !flag.is_empty() => {
                    let (names, wanted) = flag.strip_prefix('!').map_or((flag, true), |names| (names, false));
                    let set = names.split('|').any(|name| self.flags.contains(&name));
                    open.push((set == wanted, false));
                }
                ("else", "") => match open.last_mut() {
                    Some((kept, seen @ false)) => (*kept, *seen) = (!*kept, true),
                    _ => return Err(fault("else without if".into())),
                },
                ("endif", "") => {
                    if open.pop().is_none() {
                        return Err(fault("endif without if".into()));
                    }
                }
                ("repeat", count) => {
                    let count = count.parse().ok().filter(|count| (1..=64).contains(count));
                    let count = count.ok_or_else(|| fault("repeat needs a number from 1 to 64".into()))?;
                    repeats.push((self.lines.len(), count, open.len()));
                }
                ("end", "") => match repeats.pop() {
                    Some((first, count, conditions)) if conditions == open.len() => {
                        let lines = self.lines.split_off(first);
                        (0..count).for_each(|_| self.lines.extend_from_slice(&lines));
                    }
                    _ => return Err(fault("end without repeat".into())),
                },
                ("include", argument) => {
                    let path = argument.strip_prefix('"').and_then(|a| a.strip_suffix('"'));
                    let path = path.ok_or_else(|| fault("include needs a path in quotes".into()))?;
                    let (name, text) =
                        (self.source)(path).ok_or_else(|| fault(format!("no file {path} to include")))?;
                    if kept && !self.included.contains(&name) {
                        self.file(name, text)?;
                    }
                }
                _ => return Err(fault(format!("unknown directive //#{directive}"))),
            }
        }
        let reason = match (open.as_slice(), repeats.as_slice()) {
            ([], []) => return Ok(()),
            ([], _) => "repeat without end",
            _ => "if without endif",
        };
        Err(Fault { file: file.into(), number: last, reason: reason.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str) -> Option<(&'static str, &'static str)> {
        [
            ("a", "1\n//#if X\n2\n//#include \"b\"\n//#else\n3\n//#endif\n    //#if !X\n4\n//#endif\n5"),
            ("b", "b1\n//#include \"c\"\n//#include \"c\""),
            ("c", "c1\n//#include \"b\""),
            ("open", "1\n//#if X\n2"),
            ("closed", "1\n//#endif"),
            ("twice", "//#if X\n//#else\n//#else\n//#endif"),
            ("unknown", "\n//#define X"),
            ("either", "//#if X|Y\n1\n//#endif\n//#if !X|Y\n2\n//#endif"),
            ("missing", "//#include \"nowhere\""),
            ("repeated", "1\n//#repeat 2\n2\n//#if X\n3\n//#endif\n//#repeat 2\n4\n//#end\n//#end\n5"),
            ("endless", "//#repeat 2\n1"),
            ("ended", "//#if X\n//#repeat 2\n//#endif\n//#end"),
            ("never", "//#repeat 0\n//#end"),
        ]
        .into_iter()
        .find(|(name, _)| *name == path)
    }

    fn texts(flags: &[&str]) -> Vec<&'static str> {
        expand(&source, "a", flags).unwrap().iter().map(|l| l.text).collect()
    }

    #[test]
    fn conditions_choose_and_includes_come_once() {
        assert_eq!(texts(&[]), ["1", "3", "4", "5"]);
        assert_eq!(texts(&["X"]), ["1", "2", "b1", "c1", "5"]);
        let lines = expand(&source, "a", &["X"]).unwrap();
        assert_eq!((lines[3].file, lines[3].number), ("c", 1));
        assert_eq!((lines[4].file, lines[4].number), ("a", 11));
        assert_eq!(join(&lines[..2]), "1\n2\n");
    }

    #[test]
    fn one_of_several_flags_is_enough() {
        for (flags, expected) in [(&["X"][..], "1"), (&["Y"], "1"), (&["X", "Y"], "1"), (&[], "2")] {
            let lines = expand(&source, "either", flags).unwrap();
            assert_eq!(lines.iter().map(|l| l.text).collect::<Vec<_>>(), [expected]);
        }
    }

    #[test]
    fn lines_are_repeated() {
        let lines = |flags| {
            expand(&source, "repeated", flags).unwrap().iter().map(|l| l.text).collect::<Vec<_>>().concat()
        };
        assert_eq!((lines(&[]), lines(&["X"])), ("12442445".into(), "1234423445".into()));
    }

    #[test]
    fn faults_name_file_and_line() {
        let faults =
            [("open", 3), ("closed", 2), ("twice", 3), ("unknown", 2), ("missing", 1), ("nothing", 0)];
        for (file, number) in faults.into_iter().chain([("endless", 2), ("ended", 4), ("never", 1)]) {
            let fault = expand(&source, file, &[]).unwrap_err();
            assert_eq!((fault.file.as_str(), fault.number), (file, number), "{fault}");
        }
    }
}
