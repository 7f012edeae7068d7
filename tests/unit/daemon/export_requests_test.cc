#include "applications/export_requests.h"

#include <gtest/gtest.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

namespace sockmi::daemon {
namespace {

class ExportRequestsTest : public testing::Test {
 protected:
  inline static const User alice{1000, "alice"}, bob{1001, "bob"}, root{0, "root"};
  // Registers an application that records what it was asked.
  ExportRequests::Holder hold(const char* service, const User& user = alice) {
    return requests_.hold(
        service, user, [this](const ExportRequest& request) { asked_.push_back(request.request); });
  }
  void ask(const char* service, std::chrono::milliseconds timeout = std::chrono::minutes(1),
           const User& asker = root) {
    outcome_.reset();
    asio::co_spawn(io_, requests_.ask(service, {}, asker, timeout),
                   [this](std::exception_ptr, ExportOutcome outcome) { outcome_ = outcome; });
    io_.restart();
    io_.poll();
  }
  // Returns whether the request has been answered. The answer is in outcome_.
  bool settled() {
    io_.restart();
    io_.poll();
    return outcome_.has_value();
  }

  asio::io_context io_;
  ExportRequests requests_{io_.get_executor()};
  std::vector<std::uint64_t> asked_;
  std::optional<ExportOutcome> outcome_;
};

TEST_F(ExportRequestsTest, CountsOfAllApplicationsAreAdded) {
  const auto one = hold("web"), other = hold("web"), of_another_service = hold("mail");
  ask("web");
  ASSERT_EQ(asked_.size(), 2u);
  ASSERT_TRUE(requests_.done(asked_[0], alice, 3, 1));
  EXPECT_FALSE(settled());
  ASSERT_TRUE(requests_.done(asked_[1], alice, 4, 0));
  ASSERT_TRUE(settled());
  EXPECT_EQ(outcome_->applications, 2u);
  EXPECT_EQ(outcome_->answered, 2u);
  EXPECT_EQ(outcome_->exported, 7u);
  EXPECT_EQ(outcome_->failed, 1u);
}

TEST_F(ExportRequestsTest, ASecondAnswerIsRefused) {
  const auto one = hold("web"), other = hold("web");
  ask("web");
  ASSERT_TRUE(requests_.done(asked_[0], alice, 1, 0));
  EXPECT_EQ(requests_.done(asked_[0], alice, 1, 0).error().code, ENOENT);
  EXPECT_FALSE(settled());
}

TEST_F(ExportRequestsTest, AnApplicationThatHasEndedIsNotWaitedFor) {
  auto one = hold("web"), other = hold("web");
  ask("web");
  one.reset();
  EXPECT_FALSE(settled());
  // The application that registered last is asked first.
  ASSERT_TRUE(requests_.done(asked_[0], alice, 2, 0));
  ASSERT_TRUE(settled());
  EXPECT_EQ(outcome_->answered, 1u);
  EXPECT_EQ(outcome_->exported, 2u);
}

TEST_F(ExportRequestsTest, AServiceWithoutApplicationsIsAnsweredImmediately) {
  ask("web");
  ASSERT_TRUE(settled());
  EXPECT_EQ(outcome_->applications, 0u);
}

TEST_F(ExportRequestsTest, AnAnswerAfterTheTimeoutIsRefused) {
  const auto one = hold("web");
  ask("web", std::chrono::milliseconds(0));
  while (!settled())
    io_.run_one();
  EXPECT_EQ(outcome_->answered, 0u);
  EXPECT_EQ(requests_.done(asked_[0], alice, 1, 0).error().code, ENOENT);
}

TEST_F(ExportRequestsTest, OnlyRootReachesApplicationsOfOtherUsers) {
  const auto hers = hold("web", alice), his = hold("web", bob);
  ask("web", std::chrono::minutes(1), bob);
  EXPECT_EQ(asked_.size(), 1u);
  EXPECT_TRUE(requests_.done(asked_[0], bob, 1, 0));
  ASSERT_TRUE(settled());
  EXPECT_EQ(outcome_->applications, 1u);
}

TEST_F(ExportRequestsTest, AnAnswerOfAnotherUserIsRefused) {
  const auto hers = hold("web", alice);
  ask("web");
  EXPECT_EQ(requests_.done(asked_[0], bob, 100, 0).error().code, ENOENT);
  EXPECT_FALSE(settled());
  EXPECT_NE(asked_[0] >> 32, 0u) << "a number that can be guessed";
}

TEST_F(ExportRequestsTest, ASilentApplicationIsReportedOnceAndNotWaitedForAgain) {
  const auto hers = hold("web", alice), his = hold("web", bob);
  ask("web", std::chrono::milliseconds(0));
  while (!settled())
    io_.run_one();
  EXPECT_EQ(outcome_->unanswered.size(), 2u);
  EXPECT_EQ(requests_.done(asked_[1], alice, 1, 0).error().code, ENOENT)
      << "too late, but she is there";
  ask("web");
  ASSERT_EQ(asked_.size(), 4u);
  EXPECT_FALSE(settled());
  ASSERT_TRUE(requests_.done(asked_[3], alice, 2, 0));
  ASSERT_TRUE(settled());
  EXPECT_EQ(outcome_->answered, 1u);
  EXPECT_EQ(outcome_->unanswered, std::vector<std::string>{"bob"});
}

class TrustTest : public ExportRequestsTest {
 protected:
  // Alice's word counts, Bob's does not, and another user is not asked.
  void ask_with_trust(std::chrono::milliseconds timeout) {
    const auto trust = [](const User& user) {
      using enum ExportRequests::Trust;
      if (user == alice) return Counted;
      return user == bob ? Doubted : NotAsked;
    };
    asio::co_spawn(io_, requests_.ask("web", {}, root, timeout, trust),
                   [this](std::exception_ptr, ExportOutcome outcome) { outcome_ = outcome; });
    io_.poll();
  }
};

TEST_F(TrustTest, OnlyWordsOfTrustedUsersCount) {
  const auto hers = hold("web", alice), his = hold("web", bob), third = hold("web", {7, "carol"});
  ask_with_trust(std::chrono::minutes(1));
  ASSERT_EQ(asked_.size(), 2u) << "the third user is not asked";
  ASSERT_TRUE(requests_.done(asked_[0], bob, 5, 6));
  EXPECT_FALSE(settled());

  ASSERT_TRUE(requests_.done(asked_[1], alice, 1, 2));

  ASSERT_TRUE(settled());
  EXPECT_EQ(outcome_->exported, 1u);
  EXPECT_EQ(outcome_->failed, 2u);
  EXPECT_EQ(outcome_->in_doubt, std::vector<std::string>{"bob"});
}

TEST_F(TrustTest, AUserWhoIsNotTrustedAndHasNothingLeavesNoDoubt) {
  const auto hers = hold("web", alice), his = hold("web", bob);
  ask_with_trust(std::chrono::minutes(1));
  ASSERT_TRUE(requests_.done(asked_[0], bob, 0, 0));
  ASSERT_TRUE(requests_.done(asked_[1], alice, 0, 0));
  ASSERT_TRUE(settled());
  EXPECT_TRUE(outcome_->in_doubt.empty());
}

TEST_F(TrustTest, TheSilenceOfAUserWhoIsNotTrustedIsADoubt) {
  const auto hers = hold("web", alice), his = hold("web", bob);
  ask_with_trust(std::chrono::milliseconds(0));
  while (!settled())
    io_.run_one();
  EXPECT_EQ(outcome_->unanswered, std::vector<std::string>{"alice"});
  EXPECT_EQ(outcome_->in_doubt, std::vector<std::string>{"bob"});
}

}  // namespace
}  // namespace sockmi::daemon
