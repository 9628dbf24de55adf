//! Options that take a number, as `chaos` and `sim` read them. Knows nothing of what they mean.

use anyhow::{Context, Result, bail};

/// The value of each of these options, where it is given; the last one counts.
///
/// # Errors
/// Another argument, or a value that is no number.
pub(crate) fn read<const N: usize>(arguments: &[String], options: [&str; N]) -> Result<[Option<u64>; N]> {
    let mut values = [None; N];
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let places = options.iter().zip(&mut values);
        let Some((option, place)) = places.into_iter().find(|(option, _)| *option == argument) else {
            bail!("unknown argument `{argument}`: expected {}", options.join(" or "));
        };
        let value = arguments.next().with_context(|| format!("{option} needs a number"))?;
        let number = value.parse().with_context(|| format!("{option}: expected a number, found {value}"))?;
        *place = Some(number);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<[Option<u64>; 2]> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        read(&arguments, ["--rounds", "--seed"])
    }

    #[test]
    fn reads_its_options_and_refuses_others() {
        assert_eq!(parsed("").unwrap(), [None, None]);
        assert_eq!(parsed("--seed 7 --rounds 3").unwrap(), [Some(3), Some(7)]);
        assert_eq!(parsed("--seed 7 --seed 8").unwrap(), [None, Some(8)]);
        for line in ["--round 3", "--rounds", "--seed x", "--seed -1", "3"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
