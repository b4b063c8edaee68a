//! Prints the page of the book that says where the times of each GPU come from.

fn main() {
    print!("{}", validation::gpu::gpus_md());
}
