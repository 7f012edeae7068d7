#include "drain/order_window.h"

#include <gtest/gtest.h>

namespace sockmi::daemon {
namespace {

using std::chrono::milliseconds;

// Gives as many orders as there is room for. Returns how many.
std::size_t fill(OrderWindow& window) {
  std::size_t count = 0;
  for (; window.has_room(); ++count)
    window.opened();
  return count;
}

// Answers all orders that are open.
void answer_all(OrderWindow& window, milliseconds after) {
  while (window.open() > 0)
    window.answered(after);
}

TEST(OrderWindow, AWindowBeginsWithFew) {
  OrderWindow window;

  EXPECT_EQ(fill(window), OrderWindow::kFewest);
}

TEST(OrderWindow, AWindowGrowsWhileAnswersComeSoon) {
  OrderWindow window;
  std::size_t before = 0;
  for (std::size_t given = fill(window); given > before; given = fill(window)) {
    before = given;
    answer_all(window, milliseconds(30));
  }

  EXPECT_EQ(before, OrderWindow::kMost);
}

TEST(OrderWindow, AWindowShrinksWhileAnswersComeLate) {
  OrderWindow window;
  for (int i = 0; i < 5; ++i) {
    fill(window);
    answer_all(window, milliseconds(30));
  }
  for (int i = 0; i < 5; ++i) {
    fill(window);
    answer_all(window, milliseconds(300));
  }

  EXPECT_EQ(fill(window), OrderWindow::kFewest);
}

TEST(OrderWindow, AnAnswerMakesRoom) {
  OrderWindow window;
  fill(window);

  window.answered(milliseconds(300));

  EXPECT_TRUE(window.has_room());
}

}  // namespace
}  // namespace sockmi::daemon
