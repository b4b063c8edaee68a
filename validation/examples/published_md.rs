//! Prints the page of the book about published measurements, which are in the folder that is named.

use validation::published::check_published;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args_os().nth(1).ok_or("expected the folder of published measurements")?;
    print!("{}", check_published(dir.as_ref(), |_, _, _| {})?.page_of_the_book());
    Ok(())
}
