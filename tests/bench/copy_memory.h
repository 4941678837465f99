// The memory of a process that only copies, at several sizes of the data set.
#pragma once

#include <cstdint>
#include <vector>

namespace exodus::test {

/// Prints a row for each number of keys: this program again, as a child that only copies.
void print_copy_memory(const std::vector<uint64_t>& sizes);

/// Of that child: copies everything and prints the peak of its resident memory.
void copy_and_tell_memory(int source_port, int target_port);

/// First argument of that child.
inline constexpr const char* kCopyOnly = "--copy-only";

}  // namespace exodus::test
