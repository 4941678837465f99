// A growing ring buffer of plain values: what a backend connection owes, in order. No allocation
// once it is as large as the deepest pipeline was.
#pragma once

#include <cstddef>
#include <type_traits>
#include <vector>

namespace exodus::redis {

template <class T>
class Fifo {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    [[nodiscard]] bool empty() const { return size_ == 0; }
    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] T& front() { return ring_[head_]; }
    [[nodiscard]] const T& front() const { return ring_[head_]; }
    [[nodiscard]] T& operator[](std::size_t index) {
        return ring_[(head_ + index) & (ring_.size() - 1)];
    }
    [[nodiscard]] const T& operator[](std::size_t index) const {
        return ring_[(head_ + index) & (ring_.size() - 1)];
    }

    T& push(const T& value) {
        if (size_ == ring_.size()) grow();
        T& slot = ring_[(head_ + size_) & (ring_.size() - 1)];
        slot = value;
        ++size_;
        return slot;
    }
    void pop() {
        head_ = (head_ + 1) & (ring_.size() - 1);
        --size_;
    }
    void clear() {
        head_ = 0;
        size_ = 0;
    }

  private:
    void grow() {
        std::vector<T> larger(ring_.empty() ? 16 : ring_.size() * 2);
        for (std::size_t i = 0; i < size_; ++i) larger[i] = (*this)[i];
        ring_.swap(larger);
        head_ = 0;
    }

    std::vector<T> ring_;
    std::size_t head_ = 0;
    std::size_t size_ = 0;
};

}  // namespace exodus::redis
