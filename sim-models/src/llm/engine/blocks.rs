//! The KV blocks of one device: reference counts, the queue of free blocks, and what cached blocks hold.

use std::collections::BTreeMap;

/// The end of the free queue in both directions; block 0 is the null block, which is never in the queue.
const NULL: u32 = 0;

#[derive(Debug, Clone, Copy)]
struct Block {
    references: u32,
    /// Neighbours in the free queue, meaningful only while `references` is 0.
    previous: u32,
    next: u32,
    /// Content key, and the number that tells blocks of the same content apart by age.
    cached: Option<(u64, u64)>,
}

/// A block pool with vLLM's eviction order (`vllm/v1/core/block_pool.py`, 0.11.0).
///
/// A block without references is in the free queue, whether or not its content is still known. Blocks are
/// taken from the head and returned to the tail; taking a block whose content was known evicts it. A hit on
/// a free block takes it out of the middle of the queue.
#[derive(Debug, Clone)]
pub(super) struct BlockPool {
    blocks: Vec<Block>,
    free: u32,
    /// Blocks of equal content are all kept, and the oldest is found: vLLM does not merge them either.
    cached: BTreeMap<(u64, u64), u32>,
    next_age: u64,
}

impl BlockPool {
    /// A pool of `num_blocks` blocks, the null block among them.
    pub(super) fn new(num_blocks: u32) -> Self {
        let empty = Block { references: 0, previous: NULL, next: NULL, cached: None };
        let mut pool =
            Self { blocks: vec![empty; num_blocks as usize], free: 0, cached: BTreeMap::new(), next_age: 0 };
        pool.reset();
        pool
    }

    /// Frees and forgets everything; the queue is in the order of block numbers again.
    pub(super) fn reset(&mut self) {
        self.cached.clear();
        self.free = 0;
        let head = &mut self.blocks[NULL as usize];
        (head.previous, head.next) = (NULL, NULL);
        for block in 1..self.blocks.len() as u32 {
            self.blocks[block as usize].references = 0;
            self.blocks[block as usize].cached = None;
            self.push_free(block);
        }
    }

    /// Blocks that nobody refers to, cached ones among them.
    pub(super) fn free_blocks(&self) -> u32 {
        self.free
    }

    /// Blocks that somebody refers to.
    pub(super) fn used_blocks(&self) -> u32 {
        self.blocks.len() as u32 - 1 - self.free
    }

    /// Whether nobody refers to `block`.
    pub(super) fn is_free(&self, block: u32) -> bool {
        self.blocks[block as usize].references == 0
    }

    /// Takes the free block that was returned longest ago; its content, if known, is forgotten.
    ///
    /// # Panics
    /// If no block is free.
    pub(super) fn allocate(&mut self) -> u32 {
        let block = self.blocks[NULL as usize].next;
        assert!(block != NULL, "no free KV block: the caller compares with free_blocks() first");
        self.unlink_free(block);
        self.forget(block);
        self.blocks[block as usize].references = 1;
        block
    }

    /// Adds a reference to a cached block, free or not.
    pub(super) fn share(&mut self, block: u32) {
        if self.is_free(block) {
            self.unlink_free(block);
        }
        self.blocks[block as usize].references += 1;
    }

    /// Removes a reference; without any, the block goes to the tail of the free queue.
    pub(super) fn release(&mut self, block: u32) {
        let references = &mut self.blocks[block as usize].references;
        *references = references.checked_sub(1).expect("a block is released once per reference");
        if *references == 0 {
            self.push_free(block);
        }
    }

    /// The oldest block with the content `key`.
    pub(super) fn find(&self, key: u64) -> Option<u32> {
        self.cached.range((key, 0)..=(key, u64::MAX)).next().map(|(_, block)| *block)
    }

    /// Notes that `block`, in use, is full and what it holds.
    pub(super) fn register(&mut self, block: u32, key: u64) {
        debug_assert!(self.blocks[block as usize].cached.is_none() && !self.is_free(block));
        let entry = (key, self.next_age);
        self.next_age += 1;
        self.blocks[block as usize].cached = Some(entry);
        self.cached.insert(entry, block);
    }

    /// Forgets what `block` holds, if that was known.
    pub(super) fn forget(&mut self, block: u32) {
        if let Some(entry) = self.blocks[block as usize].cached.take() {
            self.cached.remove(&entry);
        }
    }

    fn push_free(&mut self, block: u32) {
        let tail = self.blocks[NULL as usize].previous;
        self.blocks[block as usize].previous = tail;
        self.blocks[block as usize].next = NULL;
        self.blocks[tail as usize].next = block;
        self.blocks[NULL as usize].previous = block;
        self.free += 1;
    }

    fn unlink_free(&mut self, block: u32) {
        let Block { previous, next, .. } = self.blocks[block as usize];
        self.blocks[previous as usize].next = next;
        self.blocks[next as usize].previous = previous;
        self.free -= 1;
    }

    /// Checks the pool against the block tables of all sequences: O(blocks).
    #[cfg(test)]
    pub(super) fn check<'a>(&self, tables: impl Iterator<Item = &'a [u32]>) {
        let mut references = vec![0u32; self.blocks.len()];
        for block in tables.flatten() {
            references[*block as usize] += 1;
        }
        assert_eq!(references[NULL as usize], 0, "the null block is never given away");
        for (number, block) in self.blocks.iter().enumerate().skip(1) {
            assert_eq!(block.references, references[number], "references of block {number}");
            if let Some(entry) = block.cached {
                assert_eq!(self.cached.get(&entry), Some(&(number as u32)));
            }
        }
        assert_eq!(self.cached.len(), self.blocks.iter().filter(|block| block.cached.is_some()).count());
        let queue = self.free_queue();
        assert_eq!(queue.len() as u32, self.free);
        assert_eq!(self.free as usize, references.iter().skip(1).filter(|count| **count == 0).count());
        assert!(queue.iter().all(|block| self.is_free(*block)));
    }

    /// The free blocks in the order in which they will be taken.
    #[cfg(test)]
    pub(super) fn free_queue(&self) -> Vec<u32> {
        let next = |block: u32| Some(self.blocks[block as usize].next).filter(|next| *next != NULL);
        std::iter::successors(next(NULL), |block| next(*block)).take(self.blocks.len()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_taken_least_recently_freed_first() {
        let mut pool = BlockPool::new(5);
        assert_eq!(pool.free_queue(), [1, 2, 3, 4]);
        let taken: Vec<u32> = (0..3).map(|_| pool.allocate()).collect();
        assert_eq!(taken, [1, 2, 3]);
        for block in [3, 1] {
            pool.release(block);
        }
        assert_eq!(pool.free_queue(), [4, 3, 1]);
        assert_eq!((pool.free_blocks(), pool.used_blocks()), (3, 1));
        pool.check([[2].as_slice()].into_iter());
    }

    #[test]
    fn a_cached_block_is_found_until_it_is_taken_again() {
        let mut pool = BlockPool::new(3);
        let block = pool.allocate();
        pool.register(block, 77);
        pool.release(block);
        assert_eq!(pool.find(77), Some(block));
        assert_eq!(pool.allocate(), 2);
        assert_eq!(pool.find(77), Some(block), "the other block was freed longer ago");
        assert_eq!(pool.allocate(), block);
        assert_eq!(pool.find(77), None);
    }

    #[test]
    fn a_hit_takes_a_free_block_out_of_the_queue() {
        let mut pool = BlockPool::new(4);
        let blocks: Vec<u32> = (0..3).map(|_| pool.allocate()).collect();
        pool.register(blocks[1], 5);
        blocks.iter().for_each(|block| pool.release(*block));
        pool.share(2);
        pool.share(2);
        assert_eq!(pool.free_queue(), [1, 3]);
        pool.release(2);
        assert!(!pool.is_free(2));
        pool.release(2);
        assert_eq!(pool.free_queue(), [1, 3, 2]);
    }

    #[test]
    fn of_equal_blocks_the_oldest_is_found() {
        let mut pool = BlockPool::new(4);
        let blocks: Vec<u32> = (0..3).map(|_| pool.allocate()).collect();
        pool.register(blocks[2], 9);
        pool.register(blocks[0], 9);
        assert_eq!(pool.find(9), Some(blocks[2]));
        pool.forget(blocks[2]);
        assert_eq!(pool.find(9), Some(blocks[0]));
        assert_eq!((pool.find(8), pool.find(10)), (None, None));
    }
}
