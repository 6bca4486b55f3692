//! Inserts a prompt into a command line so that it cannot be taken for an option (C23, TR-6).

use super::PromptVia;

/// Replaced by the prompt inside one argument.
const PLACEHOLDER: &str = "{prompt}";
/// Ends option parsing in most programs.
const NO_MORE_OPTIONS: &str = "--";

/// A configured command line and the place of the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    argv: Vec<String>,
    position: Position,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// The prompt goes to standard input.
    Input,
    /// The prompt is the last argument.
    Last,
    /// The prompt replaces the placeholder in that argument.
    Inside(usize),
}

impl Template {
    /// Parses a configured command line.
    ///
    /// # Errors
    /// The problem, as a text that follows the provider's name.
    pub(super) fn new(argv: Vec<String>, via: PromptVia) -> Result<Self, String> {
        if argv.first().is_none_or(String::is_empty) {
            return Err("has an empty `command`: give it a program".to_owned());
        }
        if argv.iter().any(|argument| argument.contains('\0')) {
            return Err("has a NUL character in `command`, which no program accepts".to_owned());
        }
        let holders = argv
            .iter()
            .enumerate()
            .filter(|(_, argument)| argument.contains(PLACEHOLDER));
        let holders: Vec<usize> = holders.map(|(index, _)| index).collect();
        let position = match (holders.as_slice(), via) {
            ([], PromptVia::Stdin) => Position::Input,
            ([], PromptVia::Argument) => Position::Last,
            ([0, ..], _) => return Err(format!("has `{PLACEHOLDER}` in the name of its program")),
            (_, PromptVia::Stdin) => {
                return Err(format!(
                    "has `{PLACEHOLDER}` in `command` and `prompt = \"stdin\"`: choose one"
                ));
            }
            ([index], PromptVia::Argument) => Position::Inside(*index),
            _ => {
                return Err(format!(
                    "has `{PLACEHOLDER}` in more than one argument of `command`"
                ));
            }
        };
        if let Position::Inside(index) = position
            && argv
                .get(index)
                .is_some_and(|argument| argument.matches(PLACEHOLDER).count() > 1)
        {
            return Err(format!("has `{PLACEHOLDER}` more than once in `command`"));
        }
        Ok(Self { argv, position })
    }

    /// The program, as configured.
    pub(super) fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    /// Checks that a prompt can be passed to the program.
    ///
    /// # Errors
    /// The reason and what would be accepted; the text contains neither the command line nor the
    /// prompt.
    pub(super) fn check(&self, prompt: &str) -> Result<(), String> {
        if !prompt.starts_with('-') {
            return Ok(());
        }
        let before = match self.position {
            Position::Input => return Ok(()),
            Position::Last => self.argv.as_slice(),
            Position::Inside(index) => match (self.argv.get(index), self.argv.get(..index)) {
                (Some(argument), Some(before)) if argument.starts_with(PLACEHOLDER) => before,
                _ => return Ok(()),
            },
        };
        if before
            .iter()
            .skip(1)
            .any(|argument| argument == NO_MORE_OPTIONS)
        {
            return Ok(());
        }
        Err(
            "begins with `-`, and this provider's program would take it for an option: begin with something else (a \
             space will do), or have the provider's `command` end in `--`, or name the place with \
             `--option={prompt}`, or set `prompt = \"stdin\"`"
                .to_owned(),
        )
    }

    /// The arguments, and the content of standard input.
    ///
    /// # Errors
    /// As [`Template::check`].
    pub(super) fn fill(&self, prompt: &str) -> Result<(Vec<String>, Option<String>), String> {
        self.check(prompt)?;
        let mut argv = self.argv.clone();
        match self.position {
            Position::Input => return Ok((argv, Some(prompt.to_owned()))),
            Position::Last => argv.push(prompt.to_owned()),
            Position::Inside(index) => {
                if let Some(argument) = argv.get_mut(index) {
                    *argument = argument.replacen(PLACEHOLDER, prompt, 1);
                }
            }
        }
        Ok((argv, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(argv: &[&str], via: PromptVia) -> Result<Template, String> {
        Template::new(argv.iter().map(|&part| part.to_owned()).collect(), via)
    }

    fn filled(argv: &[&str], prompt: &str) -> Result<String, String> {
        let template = template(argv, PromptVia::Argument).unwrap();
        template.fill(prompt).map(|(argv, _)| argv.join("|"))
    }

    #[test]
    fn tr_6_case_c23_a_prompt_is_never_an_option_of_the_program() {
        assert_eq!(
            filled(&["python3"], "print(1)").unwrap(),
            "python3|print(1)"
        );
        assert!(
            filled(&["python3"], "-cprint(1)")
                .unwrap_err()
                .contains("`--`")
        );
        assert!(filled(&["agent", "{prompt}", "-v"], "-x").is_err());
        assert!(filled(&["agent", "-p", "{prompt}"], "--all").is_err());
        assert!(
            filled(&["--", "x"], "-x").is_err(),
            "the program is no argument"
        );
        assert_eq!(filled(&["sh", "-c", "--"], "-x").unwrap(), "sh|-c|--|-x");
        assert_eq!(filled(&["a", "--", "{prompt}"], "-x").unwrap(), "a|--|-x");
        assert_eq!(
            filled(&["agent", "--prompt={prompt}", "-v"], "-x {prompt}").unwrap(),
            "agent|--prompt=-x {prompt}|-v"
        );
        let stdin = template(&["cat"], PromptVia::Stdin).unwrap();
        assert_eq!(
            stdin.fill("-x").unwrap(),
            (vec!["cat".to_owned()], Some("-x".to_owned()))
        );
    }

    #[test]
    fn a_command_line_that_cannot_be_meant_is_refused() {
        for (argv, via, says) in [
            (&[][..], PromptVia::Argument, "empty"),
            (&["", "x"], PromptVia::Argument, "empty"),
            (&["{prompt}"], PromptVia::Argument, "name of its program"),
            (
                &["a", "{prompt}", "{prompt}"],
                PromptVia::Argument,
                "more than one",
            ),
            (
                &["a", "{prompt}{prompt}"],
                PromptVia::Argument,
                "more than once",
            ),
            (&["a", "{prompt}"], PromptVia::Stdin, "stdin"),
            (&["a", "b\0"], PromptVia::Stdin, "NUL"),
        ] {
            let error = template(argv, via).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
