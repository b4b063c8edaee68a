//! Division by the block size, which is a power of two in most engines.

/// A block size, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    tokens: u64,
    /// Its logarithm, if it is a power of two.
    shift: Option<u32>,
}

impl Size {
    pub(super) fn new(tokens: u32) -> Self {
        let shift = tokens.is_power_of_two().then(|| tokens.trailing_zeros());
        Self { tokens: tokens.into(), shift }
    }

    /// The block size.
    #[inline]
    pub(super) fn get(self) -> u64 {
        self.tokens
    }

    #[inline]
    pub(super) fn of(self, tokens: u64) -> u64 {
        match self.shift {
            Some(shift) => tokens >> shift,
            None => tokens / self.tokens,
        }
    }

    /// What is left over.
    #[inline]
    pub(super) fn rest(self, tokens: u64) -> u64 {
        match self.shift {
            Some(_) => tokens & (self.tokens - 1),
            None => tokens % self.tokens,
        }
    }

    /// The blocks that so many tokens need.
    #[inline]
    pub(super) fn blocks(self, tokens: u32) -> u32 {
        self.of(u64::from(tokens) + self.tokens - 1) as u32
    }

    /// The blocks that so many tokens fill.
    #[inline]
    pub(super) fn full(self, tokens: u32) -> u32 {
        self.of(tokens.into()) as u32
    }

    /// What is left over, counted upwards also below 0.
    #[inline]
    pub(super) fn rest_signed(self, tokens: i64) -> u64 {
        match self.shift {
            Some(_) => tokens as u64 & (self.tokens - 1),
            None => tokens.rem_euclid(self.tokens as i64) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_divides() {
        for tokens in [1u32, 2, 3, 16, 17, 1 << 20] {
            let size = Size::new(tokens);
            for count in [0u32, 1, 2, 15, 16, 17, 32, 33, 1_000_003] {
                assert_eq!(size.full(count), count / tokens);
                assert_eq!(size.blocks(count), count.div_ceil(tokens));
                assert_eq!(size.rest(count.into()), u64::from(count % tokens));
                let signed = -i64::from(count);
                assert_eq!(size.rest_signed(signed), signed.rem_euclid(tokens.into()) as u64);
            }
        }
    }
}
