//! The least of several values that change one at a time.
//!
//! ```
//! use sim_core::tournament::Tournament;
//!
//! let mut due = Tournament::new(u64::MAX);
//! let places: Vec<usize> = (0..3).map(|_| due.add()).collect();
//! due.set(places[1], 40);
//! due.set(places[2], 30);
//! assert_eq!((due.first(), due.place_of_first()), (30, 2));
//! due.set(places[2], 40);
//! assert_eq!((due.first(), due.place_of_first()), (40, 1), "of equal ones the one in front");
//! ```

/// Values in places: the least is known at once, and a change takes a comparison for each doubling of the places.
#[derive(Debug, Clone)]
pub struct Tournament<V> {
    never: V,
    places: usize,
    /// The root is at 1, the children of `n` are at `2 n` and `2 n + 1`, and the second half are the places: each node has
    /// the least value below it.
    nodes: Vec<V>,
}

impl<V: Copy + Ord> Tournament<V> {
    /// Without places; `never` is the value of a place that takes no part, the greatest there is.
    pub fn new(never: V) -> Self {
        Self { never, places: 0, nodes: vec![never; 2] }
    }

    /// Adds a place, which takes no part yet, and gives its number: they are counted from 0.
    pub fn add(&mut self) -> usize {
        let half = self.nodes.len() / 2;
        if self.places == half {
            let values = self.nodes.split_off(half);
            self.nodes = vec![self.never; 4 * half];
            values.into_iter().enumerate().for_each(|(place, value)| self.set(place, value));
        }
        self.places += 1;
        self.places - 1
    }

    /// The value of a place is another.
    ///
    /// # Panics
    /// When there is no such place.
    #[inline]
    pub fn set(&mut self, place: usize, value: V) {
        let mut node = self.nodes.len() / 2 + place;
        self.nodes[node] = value;
        while node > 1 {
            let least = self.nodes[node].min(self.nodes[node ^ 1]);
            node /= 2;
            self.nodes[node] = least;
        }
    }

    /// The value of a place.
    ///
    /// # Panics
    /// When there is no such place.
    #[inline]
    pub fn get(&self, place: usize) -> V {
        self.nodes[self.nodes.len() / 2 + place]
    }

    /// The least value.
    #[inline]
    pub fn first(&self) -> V {
        self.nodes[1]
    }

    /// The first of the places with the least value.
    #[inline]
    pub fn place_of_first(&self) -> usize {
        let mut node = 1;
        while node < self.nodes.len() / 2 {
            let left = 2 * node;
            node = left + usize::from(self.nodes[left] != self.nodes[node]);
        }
        node - self.nodes.len() / 2
    }

    /// How many places take part.
    pub fn len(&self) -> usize {
        self.nodes[self.nodes.len() / 2..].iter().filter(|value| **value != self.never).count()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.first() == self.never
    }
}
