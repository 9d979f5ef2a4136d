// Package ext2 reads and writes ext2 file systems, and those ext4 file systems whose
// features make sense without a journal (extents, 64 bits, checksums, groups that are
// not initialized yet). It knows blocks and inodes, and nothing of processes or paths.
//
// # Order
//
// There is no journal, so the order of metadata writes is what keeps the file system
// repairable. What `e2fsck -p` mends without a question was tried: names of inodes that
// are not in use, wrong link counts, wrong bitmaps and counts. What it does not mend:
// an inode with data and no name, a directory with two names or a wrong "..", a block
// of two files. So, whenever power is lost:
//
//   - A name reaches the disk before the inode that it leads to, and a directory's
//     first block before both.
//   - An inode that is deleted reaches the disk as such before its name goes.
//   - A directory's inode is written before the inodes of what was made in it, and is
//     deleted after them.
//   - Data reach the disk before the inode or block that points to them, and a block of
//     pointers before the pointer to it. Blocks of pointers that are full are replaced
//     by two new ones, by one write of their parent.
//   - A block or inode that is freed is not used again until what freed it is on disk.
//   - rename makes the new name before it removes the old one. A file whose name it
//     takes away is given a name in lost+found meanwhile.
//   - A directory cannot be moved to another directory so: EXDEV, for which programs
//     copy.
//
// Changes wait in stages (queue.go). All blocks of a stage may be written in any order,
// and a flush separates it from the next one. A change joins the last stage in which
// its block is, if that is behind all that must precede it, so that a thousand new
// files need few more stages than one.
//
// An unlinked file that is still open has no links on disk, and its blocks stay taken
// until Forget. That is an orphan without an orphan list: e2fsck frees the blocks.
//
// # Context
//
// All methods may be called from any goroutine, and sleep for as long as the device
// takes. FS.mu is held over reads of metadata; data are read and written without it.
// Nothing an image says is trusted: EUCLEAN for what makes no sense, EBADMSG for a wrong
// checksum, and no panic. A file system in which a change has met such a thing is
// read-only from then on, as is one whose device failed in the middle of a change.
//
// Lock order:
//
//	FS.commitMu     one commit at a time
//	    FS.mu       everything else
package ext2
