#include "demo/devices.hpp"

#include <algorithm>

namespace collm::demo {
namespace {

using property::level;
using property::speed;
using property::temp;
constexpr std::uint8_t own = 4;     // a site's own device
constexpr std::uint8_t often = 6;   // a shared device where it is much used
constexpr std::uint8_t seldom = 1;  // and where it is not

constexpr dial none{};
constexpr dial percent{level, {10, 100, 5}};
constexpr dial degrees(std::uint32_t low, std::uint32_t high) { return {temp, {low, high, 5}}; }
constexpr dial rpm(std::uint32_t low, std::uint32_t high) { return {speed, {low, high, 50}}; }

constexpr device in_kitchen(std::string_view id, names said, bool timed, dial number) {
  return {id, said, said, false, timed, number, own, 0};
}
constexpr device in_workshop(std::string_view id, names said, bool timed, dial number) {
  return {id, said, said, false, timed, number, 0, own};
}
constexpr device shared(std::string_view id, names kitchen, names workshop, dial number,
                        std::uint8_t at_kitchen, std::uint8_t at_workshop) {
  return {id, kitchen, workshop, false, false, number, at_kitchen, at_workshop};
}
constexpr device shared_door(std::string_view id, names kitchen, names workshop,
                             std::uint8_t at_kitchen, std::uint8_t at_workshop) {
  return {id, kitchen, workshop, true, false, none, at_kitchen, at_workshop};
}

// Most ids are not one of the spoken names' words: which name means which id has to be learned.
constexpr device all[] = {
    in_kitchen("combi", {"combi oven", "steam oven", "big oven"}, true, degrees(80, 250)),
    in_kitchen("deck", {"pizza oven", "stone oven", "bottom oven"}, true, degrees(180, 350)),
    in_kitchen("fryer", {"fryer", "chip pan", "hot oil"}, true, degrees(120, 190)),
    in_kitchen("plate", {"grill", "griddle", "flat top"}, false, degrees(100, 300)),
    in_kitchen("kettle", {"soup kettle", "stock pot", "broth pot"}, true, degrees(40, 100)),
    in_kitchen("mixer", {"dough mixer", "mixer", "kneader"}, true, rpm(50, 400)),
    in_kitchen("wash", {"dishwasher", "pot wash", "dish machine"}, true, none),
    in_kitchen("proof", {"proofer", "dough cabinet", "rising box"}, true, degrees(20, 45)),
    in_kitchen("blast", {"blast chiller", "shock freezer", "quick cooler"}, true, none),
    in_kitchen("warm", {"plate warmer", "hot cupboard", "heat lamp"}, false, percent),
    in_kitchen("ice", {"ice machine", "cube maker", "ice maker"}, false, none),
    in_kitchen("slicer", {"slicer", "ham cutter", "meat blade"}, false, rpm(100, 600)),
    in_kitchen("brew", {"coffee machine", "espresso maker", "tea urn"}, false, none),
    in_kitchen("bath", {"water bath", "slow cooker", "sous vide"}, true, degrees(45, 95)),

    in_workshop("lathe", {"lathe", "turning bench", "spindle"}, false, rpm(100, 2500)),
    in_workshop("mill", {"mill", "cutter head", "face cutter"}, false, rpm(200, 3000)),
    in_workshop("drill", {"drill press", "pillar drill", "column drill"}, false, rpm(150, 2000)),
    in_workshop("saw", {"band saw", "metal saw", "cut off saw"}, true, none),
    in_workshop("weld", {"welder", "mig set", "arc set"}, false, percent),
    in_workshop("torch", {"plasma cutter", "plasma table", "flame table"}, true, percent),
    in_workshop("press", {"press", "big ram", "stamping jack"}, false, percent),
    in_workshop("stone", {"grinder", "polisher", "buffing wheel"}, true, rpm(300, 3000)),
    in_workshop("air", {"compressor", "air tank", "air line"}, false, percent),
    in_workshop("kiln", {"kiln", "hardening oven", "furnace"}, true, degrees(300, 950)),
    in_workshop("booth", {"spray booth", "paint cabin", "lacquer room"}, true, degrees(15, 60)),
    in_workshop("dust", {"dust extractor", "chip vacuum", "shavings fan"}, false, none),
    in_workshop("laser", {"laser", "engraver", "beam cutter"}, true, percent),
    in_workshop("crane", {"crane", "hoist", "gantry"}, false, none),

    shared("lamps", {"ceiling lights", "lights"}, {"strip lights", "floods"}, percent, often,
           seldom),
    shared("fan", {"hood", "extractor"}, {"roof fan", "blower"}, percent, often, seldom),
    shared("cold", {"walk in", "cold room"}, {"cool store", "beer cellar"}, degrees(5, 15), often,
           seldom),
    shared("boil", {"hot tap", "hot water"}, {"boiler", "water tank"}, degrees(40, 90), often,
           seldom),
    shared("board", {"ticket screen", "order board"}, {"job monitor", "wall panel"}, none, often,
           seldom),
    shared_door("bay", {"delivery door", "back door"}, {"roller shutter", "loading gate"}, often,
                seldom),
    shared("drain", {"grease trap", "floor drain"}, {"sump", "slurry pump"}, none, often, seldom),
    shared("heat", {"radiators", "floor heating"}, {"space heater", "hot air gun"}, degrees(15, 30),
           seldom, often),
    shared("music", {"radio", "speakers"}, {"jukebox", "sound box"}, percent, seldom, often),
    shared("cam", {"door camera", "yard camera"}, {"cctv", "watch cam"}, none, seldom, often),
    shared("siren", {"fire alarm", "bell"}, {"hooter", "buzzer"}, none, seldom, often),
    shared("charge", {"trolley charger", "scooter plug"}, {"forklift charger", "battery rack"},
           none, seldom, often),
    shared_door("vent", {"skylight", "top window"}, {"roof hatch", "smoke flap"}, seldom, often),
    shared_door("safe", {"wine cage", "spirits locker"}, {"tool cage", "parts locker"}, seldom,
                often),
};

}  // namespace

std::span<const device> devices() { return all; }

std::span<const std::string_view> spoken_names(const device& d, site staff) {
  const names& said = staff == site::kitchen ? d.said_in_kitchen : d.said_in_workshop;
  const auto used = std::ranges::find(said, std::string_view{}) - said.begin();
  return {said.data(), static_cast<std::size_t>(used)};
}

}  // namespace collm::demo
