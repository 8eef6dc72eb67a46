#include "actors/site_data.hpp"

#include "actors/replies.hpp"

namespace collm::actors {

namespace {

using self_ptr = local_site_data_actor::stateful_pointer<site_data_state>;

reply<site_rows> rows_reply(result<std::vector<store::site_row>> rows) {
  if (!rows) return make_reply<site_rows>(rows.failure());
  return make_reply<site_rows>(
      std::make_shared<const std::vector<store::site_row>>(std::move(*rows)));
}

class keeper {
 public:
  keeper(self_ptr self, site_data_deps deps) : self_(self), deps_(std::move(deps)) {}

  void look() {
    if (deps_.source.empty()) return;
    std::error_code failed;
    const bool folder = std::filesystem::is_directory(deps_.source, failed);
    auto report =
        folder ? deps_.data->import_folder(deps_.source) : deps_.data->import_file(deps_.source);
    tell(report);
    if (folder) self_->delayed_send(self_, deps_.look_again, slot_atom::value);
  }

  void remember(const std::string& request, const store::served_question& question) {
    if (auto kept = deps_.data->remember(request, question); !kept) event(kept.failure().message);
  }

  site_data_deps& deps() { return deps_; }

 private:
  void tell(const result<store::import_report>& report) {
    if (!report) return event(report.failure().message);
    if (report->added + report->bad == 0) return;
    self_->send(deps_.telemetry, event_message(report->bad > 0 ? schema::EventLevel::WARNING
                                                               : schema::EventLevel::INFO,
                                               deps_.node, "site_data_read", to_string(*report)));
  }

  /// Told once as long as it stays the same.
  void event(const std::string& fault) {
    if (fault == told_) return;
    told_ = fault;
    self_->send(deps_.telemetry,
                event_message(schema::EventLevel::ERROR, deps_.node, "site_data_failed", fault));
  }

  self_ptr self_;
  site_data_deps deps_;
  std::string told_;
};

}  // namespace

std::string to_string(const store::import_report& report) {
  std::string out = std::to_string(report.added) + " added, " + std::to_string(report.known) +
                    " known, " + std::to_string(report.bad) + " bad";
  if (!report.first_bad.empty()) {
    const auto& b = report.first_bad.front();
    out += " (" + b.file + ":" + std::to_string(b.line) + ": " + b.reason + ")";
  }
  return out;
}

local_site_data_actor::behavior_type site_data_behavior(self_ptr self, site_data_deps deps) {
  watch(self, deps.counts);
  const auto m = metered(self, deps.counts);
  auto d = std::make_shared<keeper>(self, std::move(deps));
  self->send(self, slot_atom::value);
  return {
      m([d](list_atom, store::data_set set, std::int64_t after, std::uint32_t count) {
        return rows_reply(d->deps().data->rows(set, after, count));
      }),
      m([d](list_atom, store::data_set set, const std::string& key, std::uint32_t first,
            std::uint32_t count) {
        return rows_reply(d->deps().data->ordered(set, key, first, count));
      }),
      m([d](count_atom) { return make_reply<site_counts>(d->deps().data->counts()); }),
      m([d](import_atom, const std::string& name, const std::string& text) {
        return make_reply<store::import_report>(d->deps().data->import_text(name, text));
      }),
      m([d](remember_atom, const std::string& request, const store::served_question& question) {
        d->remember(request, question);
      }),
      m([d](feedback_atom, const std::string& request, const std::string& asking,
            const std::string& answer) {
        return make_reply<store::data_set>(d->deps().data->add_feedback(request, asking, answer));
      }),
      m([counts = d->deps().counts](status_atom) { return counts->status(); }),
      m([d](slot_atom) { d->look(); }),
  };
}

}  // namespace collm::actors
